"""A notifier in memory: whoever is told notes what they heard."""

import threading
from collections.abc import Callable, Sequence

from restead.domain.notice import Answer, Hearing, Notice

_MOODS = {
    "well": Answer(Hearing.TAKEN, "thanks"),
    "busy": Answer(Hearing.LATER, "not now"),
    "against": Answer(Hearing.REFUSED, "not this"),
    **{mood: Answer(Hearing.LATER, "no answer") for mood in ("silent", "slow", "gone", "away")},
}


class MemoryNotifier:
    """Implements `Notifier`.  *before* and *after* are called around each notice that comes."""

    def __init__(
        self, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
    ) -> None:
        self.notifier = self
        self.heard: list[Notice] = []
        self.sent: list[tuple[Notice, ...]] = []  # each try
        self._answer = _MOODS["well"]
        self._before, self._after = before, after
        self._lock = threading.Lock()

    def be(self, mood: str) -> None:
        self._answer = _MOODS[mood]

    def answer(self, answer: Answer) -> None:
        self._answer = answer

    def received(self) -> Sequence[str]:
        return [each.id for each in self.heard]

    def send(self, notices: Sequence[Notice]) -> Answer:
        self._before()
        with self._lock:
            self.sent.append(tuple(notices))
            if self._answer.hearing is Hearing.TAKEN:
                self.heard.extend(notices)
        self._after()
        return self._answer
