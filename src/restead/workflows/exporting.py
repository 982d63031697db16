"""The disks of a backup become image files that anybody can read without us.

No run stands behind it: it is done by whoever asks, beside a service or without one.  What is read is kept by a session
of the log for as long as that takes, whatever is deleted or collected meanwhile; that of an export which was killed is
ended by the next (`at_work.py`).
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from restead.domain.errors import Damaged
from restead.domain.ids import ManifestId, VolumeId
from restead.ports import BlockTarget
from restead.repository import Disks, Repository, Session
from restead.workflows.at_work import AtWork
from restead.workflows.meter import Meter, Reading, update

Images = Callable[[Mapping[VolumeId, int]], AbstractContextManager[Mapping[VolumeId, BlockTarget]]]
_MOST_TOLD = 5  # ranges of a damaged disk


class Exporter:
    """Writes disk backups into fresh targets.

    *cache*: a folder that may be lost at any time, with the locks of those who are at it.
    """

    def __init__(self, repository: Repository, cache: Path) -> None:
        self._repository = repository
        self._at_work = AtWork(repository, cache, "exports")

    def run(
        self, disks: Disks, images: Images, told: Callable[[Reading], None], *, readback: bool = False
    ) -> dict[ManifestId, tuple[int, int]]:
        """Write each of *disks*, those of one backup; return the size of each, and how much of it is not zero.

        *images*: opens targets that are all zero, of these sizes for the disks of these ids; what is in them counts
        once they are closed.  Every byte was compared with its name before it was written, and the root's name was
        computed anew from what was written where.  *readback*: all of it is read again, from the medium.

        Raises:
            NotFound: the backup was deleted.
            Damaged: some of it is lost.
            Unavailable: a target or the store did not answer.
        """
        ids = [entry.id for entry in disks]
        sizes = {VolumeId(entry.label): self._repository.manifest(entry.id).size for entry in disks}
        # The session is over before the files count: whatever fails, there are none.
        label = f"export {secrets.token_hex(8)}"
        with self._at_work.working(label), images(sizes) as targets:
            with self._repository.session(disks[0].project, label=label, reads=ids) as session:
                return _write(session, disks, targets, told, readback=readback)


def _write(
    session: Session,
    disks: Disks,
    targets: Mapping[VolumeId, BlockTarget],
    told: Callable[[Reading], None],
    *,
    readback: bool,
) -> dict[ManifestId, tuple[int, int]]:
    # A disk that is read again is two stretches of the work.
    sizes = [session.manifests[entry.id].size for entry in disks]
    meter = Meter([size for size in sizes for _ in range(1 + readback)], told)
    written = {}
    for place, entry in enumerate(disks):
        target, first = targets[VolumeId(entry.label)], place * (1 + readback)
        try:
            count = session.restore(entry.id, target, target_is_new=True, progress=partial(update, meter, first))
            if readback:
                session.reread(entry.id, target, progress=partial(update, meter, first + 1))
        except Damaged as error:
            raise _with_places(entry.label, error) from error
        written[entry.id] = target.size, count.written
    return written


def _with_places(disk: str, error: Damaged) -> Damaged:
    places: Sequence[str] = [f"{offset} to {offset + length}" for offset, length in error.ranges[:_MOST_TOLD]]
    where = f", bytes {', '.join(places)}" if places else ""
    return Damaged(f"disk {disk}{where}: {error.message}", ranges=error.ranges, detail=error.detail)
