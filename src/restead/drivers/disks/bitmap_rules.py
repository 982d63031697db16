"""Dirty bitmaps: where a guest has written since each of the moments that may have become a backup.

    moment 1      moment 2      moment 3
       b1 ──────────▶ b2 ──────────▶ b3 ──────────▶ now

Each bitmap begins in the very transaction of its moment, which also ends the one before: so all from one on tell what
has changed since its moment, without a gap.  A bitmap of a raw disk lives as long as its QEMU; one of a qcow2 image is
stored in it when QEMU ends, goes on in the next one, and is called inconsistent if QEMU did not come to its end.
A name is given once: what has it was never a bitmap of another disk or another moment.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# All that live backups put into QEMU or an image is called so: whoever comes later finds what was left.
PREFIX = "restead-"
_NAME = re.compile(rf"{PREFIX}(\d{{8}})-.+")  # the bitmaps of libvirt's checkpoints have no number
_MOST = 8  # bitmaps of a disk: moments that became no backup leave theirs, and each takes memory
_GENERATION = "bitmap"


@dataclass(frozen=True, slots=True)
class Found:
    """A bitmap, as QEMU or its image tells of it."""

    name: str
    recording: bool
    inconsistent: bool


def number_in(name: str) -> int:
    """Return which one of its disk's the bitmap of that name is; 0 if it is none of these bitmaps."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else 0


def believed(found: Sequence[Found]) -> tuple[str, ...]:
    """Return the names of our bitmaps of a disk, oldest first; none if there may be a gap in what they tell."""
    ours = sorted((one for one in found if number_in(one.name)), key=lambda one: one.name)
    # The newest alone records: else somebody has changed that.
    as_left = [one.recording for one in ours] == [False] * (len(ours) - 1) + [True] * bool(ours)
    sound = as_left and not any(one.inconsistent for one in ours)
    return tuple(one.name for one in ours[-_MOST + 1 :]) if sound else ()


def since(names: Sequence[str], size: int, generation: str) -> Sequence[str] | None:
    """Return those of these bitmaps that together tell what has changed since; None if they do not."""
    for place, name in enumerate(names):
        if generation_of(name, size) == generation:
            return names[place:]
    return None


def generation_of(name: str, size: int) -> str:
    """Return what a disk of that size is called at the moment in which that bitmap began."""
    return f"{_GENERATION} {name} {size}"
