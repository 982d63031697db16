"""Questions to Keystone, and how long a caller waits for the answer.

Each is asked by a thread of its own, so that nobody waits longer than is said here, whatever Keystone does, and only
once, however many come with the same token.  A caller who waits keeps one of the few places for callers whose tokens
are Keystone's: while it does not answer, those of whom it has told before need some of them.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from restead.domain.errors import Unavailable

_FEW = 16  # callers, who may wait long; those beyond wait shortly, and not at all once somebody has waited that long
_LONG, _SHORT = 12.0, 2.0  # seconds; Keystone itself is given a little less
_MOST_OUT = 64  # questions without an answer, even if nobody waits for them any more


class Told(Protocol):
    """What is asked about tokens."""

    def told(self, token: str) -> Mapping[str, Any]:
        """As `Account.told`."""
        ...


@dataclass(frozen=True, slots=True)
class _Question:
    asked_at: float
    answer: Future[Mapping[str, Any]] = field(default_factory=Future)


class Questions:
    """May be used by many threads."""

    def __init__(self, account: Told, seconds: Callable[[], float]) -> None:
        self._account = account
        self._seconds = seconds
        self._waiting: dict[object, float] = {}  # callers, and since when
        self._open: dict[bytes, _Question] = {}  # the newest for each token that has no answer yet
        self._out = 0  # questions without an answer, each a thread
        self._lock = threading.Lock()

    def ask(self, key: bytes, token: str, believed: float) -> tuple[float, Mapping[str, Any]]:
        """Return what Keystone says of a token, and when it was asked.

        *key*: what the token is known by; *believed*: seconds for which a question that one asked is good for others.

        Raises:
            Unauthenticated: as the account says.
            Unavailable: as the account says, or there is no answer in time.
        """
        caller, now = object(), self._seconds()
        with self._lock:
            waiting = len(self._waiting)
            if waiting >= _FEW and now - min(self._waiting.values()) > _SHORT:
                raise _silent(f"{waiting} callers wait for it")
            question = self._open.get(key)
            if question is None or now - question.asked_at >= believed:
                question = self._begin(key, token, now)
            self._waiting[caller] = now
        patience = _LONG if waiting < _FEW else _SHORT
        try:
            return question.asked_at, question.answer.result(patience)
        except TimeoutError as error:
            raise _silent(f"a caller waited {patience} seconds for it") from error
        finally:
            with self._lock:
                del self._waiting[caller]

    def _begin(self, key: bytes, token: str, now: float) -> _Question:
        if self._out >= _MOST_OUT:
            raise _silent(f"{self._out} questions have no answer")
        question = _Question(now)
        # A daemon: the process may end while Keystone is silent.
        threading.Thread(target=self._put, args=(key, token, question), name="keystone", daemon=True).start()
        self._open[key] = question
        self._out += 1
        return question

    def _put(self, key: bytes, token: str, question: _Question) -> None:
        try:
            told = self._account.told(token)
        except BaseException as error:  # noqa: BLE001  those who wait raise it
            self._end(key, question)
            question.answer.set_exception(error)
        else:
            self._end(key, question)
            question.answer.set_result(told)

    def _end(self, key: bytes, question: _Question) -> None:
        """Nobody joins any more: what is answered is kept elsewhere, and a failure is not kept at all."""
        with self._lock:
            self._out -= 1
            if self._open.get(key) is question:
                del self._open[key]


def _silent(detail: str) -> Unavailable:
    return Unavailable("Keystone does not answer now", detail=detail)
