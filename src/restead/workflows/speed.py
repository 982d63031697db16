"""How long something will still take, from how fast it went in the last minute."""

from collections import deque
from itertools import pairwise

WINDOW = 60.0  # seconds: so soon a change of pace is all that counts


class Speed:
    """What was done when.  One thread notes, any number ask.

    Under a throttle work comes in bursts.  From one burst to another the speed is exact; reckoned to any moment in
    between, it would seem to fall until the next one comes.
    """

    def __init__(self, now: float, *, window: float = WINDOW) -> None:
        self._window = window
        self.restart(now, 0)

    def restart(self, now: float, done: int) -> None:
        """Forget what was before: *done* bytes need no work, or count anew."""
        self._seen = deque([(now, done)])  # when it had changed, oldest first; one of them may be older than the window

    def note(self, now: float, done: int) -> None:
        """Say that *done* bytes are done now."""
        seen = self._seen
        if done != seen[-1][1]:
            seen.append((now, done))
        while len(seen) > 2 and seen[1][0] <= now - self._window:
            seen.popleft()

    def seconds_left(self, now: float, done: int, total: int) -> int | None:
        """Return in how many seconds all will be done, None if nobody can say."""
        seen = list(self._seen)
        (first, had), (last, has) = seen[0], seen[-1]
        if has <= had or now - last > self._window:
            return None
        waited = now - last
        if waited > max(after - before for (before, _), (after, _) in pairwise(seen)):
            last, waited = now, 0.0  # it goes slower than before: nobody knows yet how slow
        left = (total - done) * (last - first) / (has - had)
        return -int(-max(left - waited, 0.0) // 1)
