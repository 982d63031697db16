"""A backup as image files: which disk goes into which file."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from restead.app.naming import called_so, sessions_called
from restead.app.opening import Opened
from restead.cli.doors import Exporting
from restead.domain.errors import InvalidRequest, NotFound, Unavailable
from restead.domain.exported import Exported
from restead.domain.ids import BackupId, ManifestId, VolumeId, same_id
from restead.domain.token import check_project
from restead.domain.wording import count_of
from restead.drivers.images import NewImage
from restead.ports import BlockTarget
from restead.repository import Disks, Repository
from restead.workflows.exporting import Exporter
from restead.workflows.stock import disk_names

_FORMATS = ("raw", "qcow2")
_ENDINGS = (".raw", ".qcow2", ".img")
_MOST_NAME = 200  # bytes of a file's name without its ending


def export_backup(
    opened: Opened, repository: Repository, wanted: Exporting, told: Callable[[int, int, int | None], None]
) -> list[Exported]:
    """Write the disks of a backup into new files, and return what is where; as `Stored.export`."""
    if wanted.format not in _FORMATS:
        raise InvalidRequest(f"format {wanted.format!r} is not written, say raw or qcow2")
    project = None if wanted.project is None else check_project(wanted.project)
    (session,) = sessions_called(opened, repository, project, [wanted.backup])
    every = [entry for entry in repository.log.refresh().manifests.values() if entry.session == session]
    if not every:
        raise NotFound(f"backup {wanted.backup} was deleted meanwhile")
    names = disk_names(repository, every)
    disks = [entry for entry in every if entry.id in _chosen(every, names, wanted.disks)]
    places = _places(wanted, disks, names)

    @contextmanager
    def images(sizes: Mapping[VolumeId, int]) -> Iterator[Mapping[VolumeId, BlockTarget]]:
        new = {id: NewImage(places[id], wanted.format, size) for id, size in sizes.items()}
        with _folder(wanted.out.absolute(), needed=len(disks) > 1), opened.images.new_images(new) as targets:
            yield targets

    written = Exporter(repository, opened.folder.path / "cache").run(
        disks, images, lambda reading: told(reading.percent, reading.bytes_per_second, reading.seconds_left),
        readback=wanted.readback,
    )  # fmt: skip
    id, _ = called_so(opened, repository, disks)
    return [
        Exported(
            BackupId(id) if id else None, entry.id, entry.label, names[entry.id], str(places[VolumeId(entry.label)]),
            *written[entry.id],
        )
        for entry in disks
    ]  # fmt: skip


def _chosen(every: Disks, names: Mapping[ManifestId, str], texts: Sequence[str]) -> set[ManifestId]:
    """Return the manifests of the disks that are called so, by name or id; of all if none is said."""
    if not texts:
        return {entry.id for entry in every}
    chosen: set[ManifestId] = set()
    for text in texts:
        found = [entry.id for entry in every if same_id(entry.label, text) or names[entry.id] == text]
        if len(found) != 1:
            there = ", ".join(f"{names[entry.id]} ({entry.label})" for entry in every)
            many = count_of(len(found), "disk") if found else "no disk"
            raise InvalidRequest(f"the backup has {many} called {text}; its disks are {there}")
        chosen.update(found)
    return chosen


def _places(wanted: Exporting, disks: Disks, names: Mapping[ManifestId, str]) -> dict[VolumeId, Path]:
    """Return where each disk goes: one disk into the file that was said, several into files in that folder."""
    out = wanted.out.absolute()
    if len(disks) == 1 and not out.is_dir():
        return {VolumeId(disks[0].label): out}
    if out.suffix.lower() in _ENDINGS and not out.is_dir():
        which = ", ".join(names[entry.id] for entry in disks)
        raise InvalidRequest(f"the backup has {len(disks)} disks ({which}), and {out} is called as one file is: "
                             "name a folder for the files, or one disk with --disk")
    places: dict[VolumeId, Path] = {}
    for entry in disks:
        stem = _file_name(names[entry.id]) or entry.label
        taken = {path.name.lower() for path in places.values()}  # a folder may not tell small letters from capitals
        endings = ["", *(f"-{number}" for number in range(2, len(disks) + 1))]
        free = next(name for end in endings if (name := f"{stem}{end}.{wanted.format}").lower() not in taken)
        places[VolumeId(entry.label)] = out / free
    return places


def _file_name(name: str) -> str:
    """Return a disk's name as one of a file, without its ending: `system` for system.raw, a_b for a/b."""
    stem = re.sub(r"[^\w.+@ -]", "_", re.sub(r"\.(raw|qcow2|img)$", "", name)).strip(" .")
    return stem.encode()[:_MOST_NAME].decode(errors="ignore").strip(" .")


@contextmanager
def _folder(out: Path, *, needed: bool) -> Iterator[None]:
    """Make the folder for several disks if it is missing; it is removed again if nothing comes into it."""
    if not needed or out.is_dir():
        yield
        return
    try:
        out.mkdir(0o700)
    except FileExistsError as error:
        raise InvalidRequest(f"{out} is there and no folder: several disks need one") from error
    except OSError as error:
        raise Unavailable(f"folder {out} cannot be made: {error.strerror}") from error
    try:
        yield
        fd = os.open(out.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        with suppress(OSError):  # whatever somebody else has put there keeps it
            out.rmdir()
        raise
