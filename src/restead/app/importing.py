"""Disk images as the command line imports them: which file is which disk of which server."""

import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from restead.app.opening import Opened
from restead.cli.doors import NewImport
from restead.domain.backup import Backup
from restead.domain.errors import InvalidRequest, NotFound
from restead.domain.ids import ServerId, VolumeId, new_id
from restead.domain.quota import QuotaLimits
from restead.domain.server import Server, ServerStatus, Volume
from restead.domain.token import check_project
from restead.domain.wording import count_of
from restead.drivers.images import DiskDefinition
from restead.workflows.importing import Importer, ImportRequest

# As the API takes them: what is imported must be found and shown there.
_NAME, _DESCRIPTION = re.compile(r"[A-Za-z0-9_-]{0,255}"), re.compile(r"[^<>\x00]{0,255}")
_FORMATS = ("raw", "qcow2")


def import_images(
    opened: Opened,
    new: NewImport,
    server: Server | None,
    told: Callable[[int, int, int | None], None],
    say: Callable[[str], None],
) -> Backup:
    """Back images up as disks of *server*, None if the images driver has none so called; else as `House`'s."""
    _check(new)
    files = [path.absolute() for path in new.files]
    if server is None:
        server = _described(new, files)
        say(f"project {new.project} has no server {new.server}: the backup will tell of one, "
            "restore it with --to SERVER")  # fmt: skip
    if len(files) > len(server.volumes):
        raise InvalidRequest(
            f"{count_of(len(files), 'image')} given, server {server.name} ({server.id}) has "
            f"{count_of(len(server.volumes), 'disk')}"
        )
    for path in files if new.format == "raw" else ():
        if looks := opened.images.looks(path):
            say(f"{path} looks like {looks} and will be imported as raw, byte for byte, as was said")
    with opened.folder.setting_up():
        repository = opened.repository()
    settings = opened.settings
    quotas = QuotaLimits(settings.quota_backups, settings.quota_capacity)
    importer = Importer(opened.records, repository, opened.folder.path / "cache", quotas)
    # Errors tell of a disk by its id: that of an image is its path, which is all that people know it by.
    disks = {
        volume.id: DiskDefinition(path, VolumeId(str(path)), path.name, new.format)
        for volume, path in zip(server.volumes, files, strict=False)
    }
    return importer.run(
        ImportRequest(server, new.name, new.description),
        opened.images.open_images(disks),
        lambda reading: told(reading.percent, reading.bytes_per_second, reading.seconds_left),
    )


def _check(new: NewImport) -> None:
    check_project(new.project)
    if new.format not in _FORMATS:
        raise InvalidRequest(f"format {new.format!r} is not read, say raw or qcow2")
    if not new.files:
        raise InvalidRequest("no image is given, 1 or more are needed")
    if not _NAME.fullmatch(new.name):
        raise InvalidRequest(f"backup name {new.name[:80]!r}: a name is at most 255 characters of A-Z a-z 0-9 _ -")
    if not _DESCRIPTION.fullmatch(new.description):
        raise InvalidRequest("the description has more than 255 characters, or < or > in it")


def _described(new: NewImport, files: Sequence[Path]) -> Server:
    name = new.server
    if _is_uuid(name):
        raise NotFound(f"there is no server {name} in project {new.project}; to describe one, say a name for it")
    if not 1 <= len(name) <= 255 or not name.isprintable():
        raise InvalidRequest(f"server {name[:80]!r}: a name is 1 to 255 characters that print")
    volumes = tuple(
        Volume(VolumeId(new_id()), path.name, 0, bootable=at == 0, location=str(path)) for at, path in enumerate(files)
    )
    return Server(ServerId(new_id()), check_project(new.project), name, ServerStatus.STOPPED, volumes)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
