"""Stretches of a disk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of disk that may hold data (*data*) or is known to be all zero (not *data*)."""

    offset: int  # bytes from the start of the disk
    length: int  # bytes, > 0
    data: bool

    @property
    def end(self) -> int:
        return self.offset + self.length
