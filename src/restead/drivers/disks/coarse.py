"""Many stretches of a disk, told as few: memory stays bounded however scattered they are."""

from collections.abc import Iterable

MOST = 50_000  # stretches; beyond it neighbours are told as one, with what lies between them
_FIRST = 1 << 20  # bytes that they are then rounded to; then four times as many, …

Stretch = tuple[int, int]  # (offset, length) in bytes


def coarsely(streams: Iterable[Iterable[Stretch]], size: int, most: int = MOST) -> list[Stretch]:
    """Return stretches that cover all of those of all streams, in order, few enough, within *size* bytes."""
    unit, found = 1, list[Stretch]()
    for stream in streams:
        for offset, length in stream:
            found.append(_rounded(offset, length, unit, size))
            if len(found) > 2 * most:
                found = _joined(found)
                while len(found) > most:
                    unit = max(_FIRST, unit * 4)
                    found = _joined(_rounded(*each, unit, size) for each in found)
    return _joined(found)


def _rounded(offset: int, length: int, unit: int, size: int) -> Stretch:
    start, end = offset // unit * unit, min(-(-(offset + length) // unit) * unit, size)
    return start, end - start


def _joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    found: list[Stretch] = []
    for offset, length in sorted(stretches):
        if found and offset <= (end := found[-1][0] + found[-1][1]):
            found[-1] = found[-1][0], max(end, offset + length) - found[-1][0]
        else:
            found.append((offset, length))
    return found
