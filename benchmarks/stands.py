"""What stands on the targets of restores in place, and how much of it differs from what is restored."""

import json
import shutil
from pathlib import Path

from benchmarks.disks import DISK, apply, copy_with_holes, data_extents, differing, make_changes, make_disk
from benchmarks.steps import WAYS

_STRANGER = 1000  # added to the seed: a disk of the same kind that shares no chunk but zeroes


class Stands:
    """Targets that hold the newest day with changes, or another disk, made ready outside the measured time."""

    def __init__(self, kind: str, seed: int, newest: Path, folder: Path) -> None:
        """*newest*: the disk that is restored, which must stay.  *folder*: ours."""
        self._newest = newest
        self._folder = folder
        size = newest.stat().st_size
        for number in (1, 2):
            changes = folder / f"changes{number}"
            make_changes(kind, newest, changes, seed + number)
            ranges = [(start, end - start) for start, end in data_extents(changes)]
            self.changed(f"changes{number}").write_text(json.dumps(ranges))
        make_disk(kind, folder / "foreign", size, seed + _STRANGER)
        stretches = {stands: list(data_extents(folder / stands)) for stands in ("changes1", "changes2")}
        stretches["foreign"] = [(0, size)]
        differ = {stands: differing(newest, folder / stands, parts) for stands, parts in stretches.items()}
        #: Bytes in 4 KiB pieces that differ from what is restored.
        self.differing = {step: differ[way.stands] for step, way in WAYS.items()}

    def changed(self, stands: str) -> Path:
        """Return the JSON file with (offset, length) of all that differs."""
        return self._folder / f"{stands}.json"

    def prepare(self, stands: str, target: Path, *, proven: bool) -> None:
        """Let the file in *target* hold that; *proven*: it holds the newest day, as a step before has left it."""
        disk = target / DISK
        if stands == "foreign":
            copy_with_holes(self._folder / stands, disk)
            return
        if not proven:
            copy_with_holes(self._newest, disk)
        apply(self._folder / stands, disk)

    def close(self) -> None:
        shutil.rmtree(self._folder)
