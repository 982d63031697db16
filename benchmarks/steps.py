"""What is measured, step by step."""

from dataclasses import dataclass
from enum import StrEnum

SHARE = 0.03  # of the 64 KiB pieces of a disk: what differs from one day to the next


class Step(StrEnum):
    """In the order in which they are done; the page has them in the same."""

    FULL = "full backup"
    VERIFY = "verify it"
    OPEN = "open it and do nothing"
    SECOND = "second backup, 3 % changed"
    RESTORE = "full restore to a new file"
    READ = "only read the target"
    OVER = "in place, 3 % differ"
    OVER_BARE = "in place, 3 % differ, nothing kept"
    HINTED = "in place, 3 % differ, with a hint"
    HINTED_BARE = "in place, 3 % differ, with a hint, nothing kept"
    FOREIGN = "in place, all differs"
    FOREIGN_BARE = "in place, all differs, nothing kept"


@dataclass(frozen=True, slots=True)
class Way:
    """How a disk is restored onto a file that holds something."""

    stands: str  # what the target holds: the newest backup with one of two sets of changes, or another disk altogether
    safety: bool = True  # what is overwritten is stored first
    hint: bool = False  # it is told where the target may have changed since the newest backup


# What is kept is stored only once: each way that keeps something meets a target that the repository does not know.
WAYS = {
    Step.OVER: Way("changes1"),
    Step.OVER_BARE: Way("changes1", safety=False),
    Step.HINTED: Way("changes2", hint=True),
    Step.HINTED_BARE: Way("changes2", safety=False, hint=True),
    Step.FOREIGN: Way("foreign"),
    Step.FOREIGN_BARE: Way("foreign", safety=False),
}
