"""One step of Cinder's chunked backup driver, without the rest of OpenStack: `cinder_step.py FOLDER STEP [DISK]`.

Runs in an environment of its own, `.venv-cinder`.  The drivers are Cinder's, unchanged; around them stands as little as
they ask for: a volume of the database that has a size, backups that are kept in a JSON file of FOLDER, and nobody who
wants to be notified.  BUCKET, ENDPOINT and VOLUME (its id) in the environment make it the S3 driver, else it is the one
for a folder.
"""

import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

_GIB = 1 << 30
_VOLUME = os.environ.get("VOLUME", "volume")


class Backup(dict[str, Any]):
    """A row of Cinder's table of backups: drivers take its members by name and by key."""

    def __init__(self, members: dict[str, Any]) -> None:
        super().__init__(members)
        self.__dict__ = self

    def save(self) -> None: ...

    def refresh(self) -> None: ...

    @contextmanager
    def as_read_deleted(self) -> Iterator[None]:
        yield


class Database:
    """What a driver asks the database while it backs up without metadata."""

    def __init__(self, size: int) -> None:
        self._size = size  # bytes

    def volume_get(self, _context: object, _id: str) -> dict[str, int]:
        return {"size": -(-self._size // _GIB)}


class Backups:
    """All backups of one volume, each on top of the one before."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "backups.json"
        rows = json.loads(self._path.read_text()) if self._path.exists() else []
        self._rows = [Backup(row) for row in rows]

    def newest(self) -> Backup | None:
        return self._rows[-1] if self._rows else None

    def get_by_id(self, _context: object, id: str) -> Backup:
        return next(row for row in self._rows if row["id"] == id)

    def begin(self, size: int) -> Backup:
        before = self.newest()
        return Backup({
            "id": str(uuid.uuid4()), "parent_id": before and before["id"], "volume_id": _VOLUME, "size": size,
            "container": None, "service_metadata": None, "status": "creating", "display_name": "", "object_count": 0,
            "display_description": "", "created_at": "",
        })  # fmt: skip

    def keep(self, backup: Backup) -> None:
        self._rows.append(backup)
        self._path.write_text(json.dumps(self._rows))


def _driver(folder: Path, backups: Backups, size: int) -> Any:
    conf = import_module("oslo_config.cfg").CONF
    chunked: Any = import_module("cinder.backup.chunkeddriver")
    database: Any = import_module("cinder.db.api")
    bucket, endpoint = os.environ.get("BUCKET"), os.environ.get("ENDPOINT")
    kind = "s3" if bucket else "posix"
    module = import_module(f"cinder.backup.drivers.{kind}")
    conf([], project="cinder")
    conf.set_override("backup_compression_algorithm", "zstd")
    if bucket:
        conf.set_override("backup_s3_endpoint_url", endpoint)
        conf.set_override("backup_s3_store_bucket", bucket)
        conf.set_override("backup_s3_store_access_key", os.environ["AWS_ACCESS_KEY_ID"])
        conf.set_override("backup_s3_store_secret_key", os.environ["AWS_SECRET_ACCESS_KEY"])
    else:
        conf.set_override("backup_posix_path", str(folder / "repository"))
    database.dispose_engine = lambda: None
    chunked.objects = type("Objects", (), {"Backup": backups})
    chunked.volume_utils.notify_about_backup_usage = lambda *_, **__: None
    driver = (module.S3BackupDriver if bucket else module.PosixBackupDriver)(None)
    driver.db = Database(size)
    return driver


def main(place: str, step: str, *disks: str) -> None:
    folder = Path(place)
    backups = Backups(folder)
    if step == "backup":
        size = Path(disks[0]).stat().st_size
        backup = backups.begin(size)
        with Path(disks[0]).open("rb") as file:
            _driver(folder, backups, size).backup(backup, file, backup_metadata=False)
        backups.keep(backup)
    elif step == "restore":
        newest = backups.newest()
        assert newest is not None
        newest["status"] = "restoring"
        with Path(disks[0]).open("xb") as file:
            file.truncate(newest["size"])
            _driver(folder, backups, newest["size"]).restore(newest, _VOLUME, file, True)
    else:
        _driver(folder, backups, _GIB)


if __name__ == "__main__":
    main(*sys.argv[1:])
