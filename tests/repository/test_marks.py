"""Marks: told only of what a flush has covered that began after it was written."""

import threading

import pytest

from restead.domain.errors import Unavailable
from restead.repository.marks import Marks


class Told:
    """Marks with a clock of its own; notes flushes and marks in order."""

    def __init__(self, most: int = 100, after: int = 0) -> None:
        self.story: list[object] = []
        self.now = 0.0
        self.during_flush = lambda: None
        self.fails = False
        self.marks = Marks(self._flush, self.story.append, most, after=after, clock=lambda: self.now)

    def _flush(self) -> None:
        if self.fails:
            raise Unavailable("I/O error")
        self.during_flush()
        self.story.append("flush")


def test_a_mark_is_the_first_place_that_is_not_done() -> None:
    told = Told()
    for offset in (0, 10, 20):
        told.marks.begin(offset, offset + 10)
    told.marks.done(0)
    told.marks.done(20)
    told.marks.settle()
    told.marks.done(10)
    told.marks.settle()
    assert told.story == ["flush", 10, "flush", 30]


def test_what_is_done_while_the_flush_runs_is_not_in_its_mark() -> None:
    told = Told()
    told.marks.begin(0, 10)
    told.marks.begin(10, 20)
    told.marks.done(0)
    told.during_flush = lambda: told.marks.done(10)
    told.marks.settle()
    assert told.story == ["flush", 10]


def test_nothing_more_is_written_than_may_be_done_again() -> None:
    told = Told(most=100)
    told.marks.begin(0, 300)
    for _ in range(5):
        told.marks.about_to_write(60)
    assert told.story == ["flush"] * 4


def test_two_thirds_of_it_are_flushed_when_a_place_is_done_and_so_is_a_second() -> None:
    told = Told(most=100)
    told.marks.begin(0, 10)
    told.marks.about_to_write(50)
    told.marks.done(0)
    assert told.story == []
    told.marks.begin(10, 20)
    told.marks.about_to_write(20)
    told.marks.done(10)
    assert told.story == ["flush", 20]
    told.marks.begin(20, 30)
    told.marks.about_to_write(1)
    told.now = 1.0
    told.marks.done(20)
    assert told.story == ["flush", 20, "flush", 30]


def test_a_second_without_a_write_needs_no_flush() -> None:
    told = Told()
    told.marks.begin(0, 10)
    told.now = 5.0
    told.marks.done(0)
    assert told.story == []


def test_after_a_failed_flush_no_other_is_believed() -> None:
    told = Told()
    told.marks.begin(0, 10)
    told.marks.done(0)
    told.fails = True
    with pytest.raises(Unavailable, match="I/O error"):
        told.marks.settle()
    told.fails = False
    with pytest.raises(Unavailable, match="I/O error"):  # whoever waited for it is told the same
        told.marks.settle()
    assert told.story == []


def test_marks_of_an_earlier_life_are_not_told_again() -> None:
    told = Told(after=50)
    told.marks.reach(40)
    told.marks.settle()
    told.marks.reach(60)
    told.marks.settle()
    assert told.story == ["flush", "flush", 60]


def test_marks_only_grow_whoever_settles() -> None:
    told = Told(most=8)
    places = iter(range(0, 4000, 4))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if (offset := next(places, None)) is None:
                    return
                told.marks.begin(offset, offset + 4)
            told.marks.about_to_write(4)
            told.marks.done(offset)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.marks.settle()
    marks = [one for one in told.story if one != "flush"]
    assert sorted(set(marks)) == marks  # type: ignore[type-var]
    assert marks[-1] == 4000
