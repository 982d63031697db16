"""Notices: which news is said, and how long it is tried to say it."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.notifier import AWKWARD, notice

from restead.domain.errors import InvalidRequest
from restead.domain.notice import (
    FACTS,
    LONGEST_PAUSE,
    RULES,
    Answer,
    Hearing,
    Matter,
    NoticeKind,
    Outcome,
    kinds_of,
    pause,
    said,
)

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_LATER, _REFUSED = Answer(Hearing.LATER, ""), Answer(Hearing.REFUSED, "")
_AN_HISTORY = st.lists(st.booleans(), max_size=40)


def told(matter: Matter, history: list[bool]) -> list[NoticeKind | None]:
    """Return what is said of each outcome, good or bad, one after the other."""
    bad, found = 0, []
    for good in history:
        kind, bad = said(matter, Outcome.GOOD if good else next(iter(RULES[matter].bad)), bad)
        found.append(kind)
    return found


@pytest.mark.parametrize("matter", [matter for matter in Matter if RULES[matter].remembers])
@given(history=_AN_HISTORY)
@settings(max_examples=60)
def test_nothing_is_well_again_that_was_not_said_to_be_bad(matter: Matter, history: list[bool]) -> None:
    """And after each word of trouble the first success is said, once."""
    said_bad = False
    for good, kind in zip(history, told(matter, history), strict=True):
        if good:
            assert (kind is RULES[matter].good) == said_bad
            said_bad = False
        elif kind is not None:
            assert kind in RULES[matter].bad.values()
            said_bad = True


@given(history=_AN_HISTORY)
@settings(max_examples=60)
def test_each_failed_backup_is_said(history: list[bool]) -> None:
    for good, kind in zip(history, told(Matter.BACKUP, history), strict=True):
        assert good or kind is NoticeKind.BACKUP_FAILED


def test_a_store_that_is_away_for_a_moment_is_no_news() -> None:
    """Three looks in a row are; then it is said once, and once when it is back."""
    away = told(Matter.REPOSITORY, [False, False, True, False, False, False, False, False, True, True])
    assert away == [None] * 5 + [NoticeKind.REPOSITORY_UNAVAILABLE, None, None, NoticeKind.REPOSITORY_RECOVERED, None]


def test_restores_are_said_whatever_was_before() -> None:
    assert told(Matter.RESTORE, [True, False, True]) == [
        NoticeKind.RESTORE_SUCCEEDED, NoticeKind.RESTORE_FAILED, NoticeKind.RESTORE_SUCCEEDED
    ]  # fmt: skip


def test_every_kind_is_said_of_something() -> None:
    """But a test, which somebody asks for."""
    of_rules = {kind for rule in RULES.values() for kind in (*rule.bad.values(), rule.good)}
    assert of_rules - {None} == set(NoticeKind) - {NoticeKind.TEST}
    assert RULES.keys() == set(Matter)


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_summary_is_one_line_that_prints(kind: NoticeKind) -> None:
    made = notice(1, kind, **dict.fromkeys(FACTS[kind], AWKWARD))
    assert made.summary.isprintable()


def test_a_day_is_eleven_tries_and_one() -> None:
    """5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h, 4 h, 8 h, 8 h: give or take a fifth of each."""
    pauses = [pause("x", tries, _LATER, _DAY) for tries in range(1, 30)]
    waited = [each for each in pauses if each is not None]
    assert len(waited) == 10
    assert pauses[10:] == [None] * 19
    assert _DAY * 0.8 * 0.9 < sum(waited, timedelta(0)) < _DAY * 1.2


def test_what_is_refused_is_given_up_soon() -> None:
    assert [pause("x", tries, _REFUSED, _DAY) is None for tries in (1, 2, 3, 4)] == [False, False, True, True]


@given(st.text(max_size=8), st.integers(1, 100), st.floats(0.001, 720), st.integers(0, 4000))
@settings(max_examples=100)
def test_pauses_stay_within_bounds(id: str, tries: int, hours: float, asked: int) -> None:
    """Nobody who is asked to wait can make us wait for ever, and nothing is tried more often than its time allows."""
    answer = Answer(Hearing.LATER, "", timedelta(seconds=asked))
    found = pause(id, tries, answer, hours * _HOUR)
    if found is not None:
        assert timedelta(seconds=max(4, min(asked, 4))) <= found <= LONGEST_PAUSE
        assert found >= min(timedelta(seconds=asked), LONGEST_PAUSE)
        assert tries <= 9 + hours / 8
    assert found == pause(id, tries, answer, hours * _HOUR)  # the same at every look


def test_those_who_are_told_choose_what() -> None:
    assert kinds_of(["*"]) == set(NoticeKind)
    assert kinds_of(["*.recovered", "test"]) == {
        NoticeKind.BACKUP_RECOVERED, NoticeKind.VERIFICATION_RECOVERED, NoticeKind.COLLECTION_RECOVERED,
        NoticeKind.REPOSITORY_RECOVERED, NoticeKind.TEST,
    }  # fmt: skip
    with pytest.raises(InvalidRequest, match=r"'backups\.\*' is none of backup\.failed"):
        kinds_of(["backup.failed", "backups.*"])
