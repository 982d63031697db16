"""What a collection has done."""

from dataclasses import dataclass


@dataclass(slots=True)
class Collected:
    """What one round has done, or would do.  Sizes in bytes of the store."""

    condemned: int = 0  # packs that nothing needs, or little of, or that are small
    garbage: int = 0  # bytes in them that nothing needs
    rewritten: int = 0  # of the condemned packs: those of which a part is needed
    merged: int = 0  # of these: small ones, of which fewer are made
    removed: int = 0  # packs
    freed: int = 0  # bytes of removed packs
    copied: int = 0  # bytes put for what was needed of them
    kept: int = 0  # bytes that are needed
    later: int = 0  # packs that nothing needs and open sessions may be about to: the next round looks again
    waiting: tuple[int, ...] = ()  # sessions that condemned packs wait for
    unknown: int = 0  # packs of projects that the keyring does not know: left alone
    locked: int = 0  # condemned packs that the store does not let go yet: the next round tries again
    locked_until: str = ""  # the earliest of their times, as the store says it
