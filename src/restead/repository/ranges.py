"""Byte ranges of a disk, (offset, length), as they are told: sorted, neighbours as one."""

from collections.abc import Iterable

Range = tuple[int, int]


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Return the same bytes as few ranges, sorted."""
    found: list[Range] = []
    for offset, length in sorted(ranges):
        if found and offset <= found[-1][0] + found[-1][1]:
            start = found[-1][0]
            found[-1] = start, max(found[-1][0] + found[-1][1], offset + length) - start
        else:
            found.append((offset, length))
    return found


def total(ranges: Iterable[Range]) -> int:
    """Return how many bytes they are, if none overlap."""
    return sum(length for _, length in ranges)
