"""Files of the cache, whose folders may be removed at any time, also while one of them is written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from restead.domain.errors import Unavailable

Result = TypeVar("Result")
_TRIES = 20


def despite_removal(folder: Path, do: Callable[[], Result], *, broken: tuple[type[Exception], ...] = ()) -> Result:
    """Return what *do* does, which makes what it needs in *folder*; anew if that is removed meanwhile, or *broken*.

    Raises:
        Unavailable: it is removed again and again; or it cannot be written, for want of space for one.
    """
    # FileExistsError: it is removed while it is made.
    again: tuple[type[Exception], ...] = (FileNotFoundError, FileExistsError, *broken)
    for _ in range(_TRIES):
        try:
            return do()
        except again:
            continue
        except OSError as error:
            why = f"the cache {folder} cannot be written: {os.strerror(error.errno or 0)}"
            raise Unavailable(why, detail=str(error)) from error
    raise Unavailable(f"the cache {folder} was removed {_TRIES} times while it was written")


def write_whole(path: Path, data: bytes) -> None:
    """Let a file of the cache hold *data*.  Atomic, not flushed."""

    def write() -> None:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(data)
        fresh.replace(path)

    despite_removal(path.parent, write)
