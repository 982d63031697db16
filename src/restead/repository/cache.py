"""The local copy of a project's index: a folder of sorted runs that may be thrown away at any time.

`state.json` says which runs count and which of the store's index objects they hold.  It is replaced as a whole;
whoever changes it holds the folder's lock, across processes.  Runs are never changed: a merge writes a new one.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import TypeVar

from restead.repository.cached import despite_removal
from restead.repository.pack import Place
from restead.repository.runs import BrokenRun, Hint, Run, keys_of, merged, write_run

Result = TypeVar("Result")
_STATE = "state.json"
_ENOUGH = 1 << 15  # entries, 3 MB, that are worth a run of their own
_EVERY = 1.0  # seconds between two writings of the state while index objects come in: what a crash lets be lost
_MOST_RUNS = 64  # that are merged at once: each is open, and has 60 KiB in memory
_RATIO = 8  # a run is at least so many times as long as all shorter ones together
_TOGETHER = 4_096  # names that are looked up in one pass: what it costs in memory
_SMALL = 65_536  # entries up to which runs become one whatever their lengths: every look-up asks each run


class IndexCache:
    """The runs in *folder*, for any number of threads and processes."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._state = folder / _STATE
        self._clock = clock
        self._runs: tuple[Run, ...] = ()
        self._held: frozenset[str] = frozenset()
        self._lock = RLock()

    def find(self, name: bytes) -> list[Place]:
        """Return the places known for *name*, newest run first.  Raises BrokenRun."""
        return [place for run in reversed(self._runs) for place in run.find(name)]

    def find_many(self, names: Sequence[bytes]) -> Iterator[tuple[bytes, Place]]:
        """Yield the places of the sorted *names* that one run knows, the longest that knows any.  Raises BrokenRun."""
        for start in range(0, len(names), _TOGETHER):
            left = names[start : start + _TOGETHER]
            keys = keys_of(left)
            for run in self._runs:
                found = run.find_many(left, keys)
                yield from found
                if found:
                    known = {name for name, _ in found}
                    left = [name for name in left if name not in known]
                    keys = keys_of(left)

    def records(self) -> Iterator[bytes]:
        """Yield all entries, encoded, sorted by name.  Raises BrokenRun."""
        return chain.from_iterable(merged(run.lists() for run in self._runs))

    @property
    def entries(self) -> int:
        return sum(run.count for run in self._runs)

    def match(
        self, listed: frozenset[str], fetch: Callable[[Sequence[str]], Iterator[tuple[str, Iterable[bytes] | None]]]
    ) -> bool:
        """Hold exactly what the *listed* index objects hold; tell if all were there.

        *fetch* yields those that are missing, in order, with their sorted encoded entries, or None for what is gone.
        An object that is held but no longer listed may speak of packs that are gone: then all is made anew.
        """
        if listed == self._held:
            return True  # files that others remove or merge meanwhile stay open here, and say what they said

        def match() -> bool:
            if self._held - listed:
                self._forget()
            self._sweep()
            self._take(fetch(sorted(listed - self._held)))
            return self._held == listed

        return self._change(match)

    def add(self, entries: Sequence[Hint], name: str) -> None:
        """Hold the entries of the index object *name*, too."""

        def add() -> None:
            if name not in self._held:
                self._take([(name, sorted(entry.encode() for entry in entries))])

        self._change(add)

    def clear(self) -> None:
        """Hold nothing."""
        self._change(self._forget)

    def _change(self, change: Callable[[], Result]) -> Result:
        """Do *change* as the only one who does; anew if the folder is removed meanwhile, as it may be at any time.

        Raises:
            Unavailable: it is removed again and again.
        """

        def alone() -> Result:
            with self._changing():
                return change()

        return despite_removal(self._folder, alone, broken=(BrokenRun,))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Be the only one who changes the folder, and see its newest state.

        Raises:
            FileNotFoundError: somebody has removed the folder meanwhile.  What was held is held no more.
        """
        with self._lock:
            lock = self._opened_lock()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    self._load()
                except (BrokenRun, ValueError, KeyError, TypeError):
                    self._forget()
                yield
            finally:
                os.close(lock)

    def _opened_lock(self) -> int:
        path = f"{self._folder}/lock"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _load(self) -> None:
        try:
            state = json.loads(self._state.read_bytes())
        except FileNotFoundError:
            self._runs, self._held = (), frozenset()
            return
        mine = {run.path.name: run for run in self._runs}
        self._runs = tuple(mine.get(name) or Run(self._folder / name, count) for name, count in state["runs"])
        self._held = frozenset(state["objects"])

    def _take(self, objects: Iterable[tuple[str, Iterable[bytes] | None]]) -> None:
        """Hold the entries of these index objects, small ones in one run together.  If one fails, others count."""
        runs, held, saved = list(self._runs), set(self._held), self._clock()
        few: list[bytes] = []
        names: set[str] = set()

        def put() -> None:
            if few:
                runs.append(self._new_run(sorted(few)))
            held.update(names)
            few.clear()
            names.clear()

        try:
            for name, records in objects:
                if records is None:
                    continue
                few += list(records)  # all of them or none
                names.add(name)
                if len(few) >= _ENOUGH:
                    put()
                if len(runs) >= _MOST_RUNS:
                    self._settle(runs, held)
                    runs[:] = self._runs
                if self._clock() - saved >= _EVERY:
                    put()
                    self._save(runs, held)
                    saved = self._clock()
        except BaseException:
            put()
            self._save(runs, held)
            raise
        put()
        if held != self._held or len(runs) > _worth_merging(runs) + 1:
            self._settle(runs, held)

    def _settle(self, runs: Sequence[Run], held: Set[str]) -> None:
        """Let these runs count, but first merge what is worth it."""
        first = _worth_merging(runs)
        dropped = runs[first:] if len(runs) - first > 1 else []
        if dropped:
            merge = self._new_run(chain.from_iterable(merged(run.lists() for run in dropped)))
            runs = [*runs[:first], merge]
        self._save([run for run in runs if run.count], held)
        for run in dropped:
            run.path.unlink(missing_ok=True)

    def _new_run(self, records: Iterable[bytes]) -> Run:
        path = self._folder / f"run-{uuid.uuid4().hex}"
        return Run(path, write_run(path, records))

    def _sweep(self) -> None:
        """Remove runs that do not count: left by a crash in the middle of a merge."""
        counting = {run.path.name for run in self._runs}
        for path in self._folder.glob("run-*"):
            if path.name not in counting:
                path.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._save([], frozenset())
        self._sweep()

    def _save(self, runs: Sequence[Run], held: Set[str]) -> None:
        """Let these runs and objects count.  Atomic; what a power cut leaves of it is seen, and made anew."""
        state = {"runs": [[run.path.name, run.count] for run in runs], "objects": sorted(held)}
        fresh = self._folder / f"{_STATE}.new"
        fresh.write_text(json.dumps(state))
        fresh.replace(self._state)
        self._runs, self._held = tuple(runs), frozenset(held)


def _worth_merging(runs: Sequence[Run]) -> int:
    """Return from which run on all should become one, so that few are left and each is copied a few times only."""
    start, behind = len(runs), 0
    for at in range(len(runs) - 1, -1, -1):
        if runs[at].count < _RATIO * behind or behind + runs[at].count <= _SMALL:
            start = at
        behind += runs[at].count
    return start
