"""What an object in a store may be called: the rule of `ports.BlobStore`, checked."""

import re

LEGAL = re.compile(r"[a-z0-9/._-]{1,200}")


def checked(name: str) -> str:
    """Return *name*.  Raises ValueError (a bug of the caller) if no object may be called so."""
    if not LEGAL.fullmatch(name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"no object can be called {name!r}")
    return name
