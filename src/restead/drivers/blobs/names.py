"""What an object in a store may be called: the rule of `ports.BlobStore`, checked."""

import re

_PART = r"(?!\.{1,2}(?:/|\Z))[a-z0-9._-]+"  # neither "." nor ".."
LEGAL = re.compile(rf"(?=.{{1,200}}\Z){_PART}(?:/{_PART})*")


def checked(name: str) -> str:
    """Return *name*.  Raises ValueError (a bug of the caller) if no object may be called so."""
    if not LEGAL.fullmatch(name):
        raise ValueError(f"no object can be called {name!r}")
    return name
