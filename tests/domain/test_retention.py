"""Retention: what stays and what goes, held against the contract's sentences written down once more."""

import os
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restead.domain.ids import BackupId
from restead.domain.policy import Keep
from restead.domain.retention import FAILED_DAYS, FAILED_KEPT, Candidate, Verdict, decide, offset
from restead.domain.states import BackupState

NOW = datetime(2026, 3, 17, 12, tzinfo=UTC)
GOOD, ERROR = BackupState.AVAILABLE, BackupState.ERROR
_EXAMPLES = int(os.environ.get("RESTEAD_FUZZ", "120"))


def at(day: float, id: str = "", **more: object) -> Candidate:
    """A good scheduled backup of server s, so many days ago."""
    made = Candidate(BackupId(id or f"{day:g}"), "s", NOW - timedelta(days=day), GOOD)
    return replace(made, **more)  # type: ignore[arg-type]


def left(keep: Keep, made: list[Candidate]) -> list[str]:
    return [verdict.id for verdict in decide(keep, made, NOW) if not verdict.removed]


def test_the_newest_so_many_stay() -> None:
    assert left(Keep(max_backups=2), [at(1), at(2), at(3), at(4)]) == ["1", "2"]


def test_what_is_older_goes_but_the_newest_good_one() -> None:
    assert left(Keep(retention_duration_days=2), [at(1), at(2), at(2.1)]) == ["1", "2"]
    assert left(Keep(retention_duration_days=2), [at(5), at(6)]) == ["5"]


def test_both_limits_must_hold() -> None:
    assert left(Keep(max_backups=2, retention_duration_days=3), [at(1), at(2), at(2.5), at(9)]) == ["1", "2"]
    assert left(Keep(max_backups=9, retention_duration_days=2), [at(1), at(2), at(2.5), at(9)]) == ["1", "2"]


@pytest.mark.parametrize("keep", [Keep(), Keep(permanent=True, max_backups=1), Keep(permanent=False),
                                  Keep(max_backups=-1), Keep(retention_duration_days=-1)])  # fmt: skip
def test_without_a_limit_everything_stays(keep: Keep) -> None:
    assert left(keep, [at(day) for day in range(1, 400, 20)]) == [f"{day}" for day in range(1, 400, 20)]


def test_the_last_of_each_of_the_last_days_that_have_one() -> None:
    made = [at(0.1, "a"), at(0.2, "b"), at(1.1, "c"), at(1.2, "d"), at(5, "e"), at(6, "f")]
    assert left(Keep(day_backups=3, timezone="UTC+00:00"), made) == ["a", "c", "e"]


def test_days_begin_where_the_policy_says() -> None:
    """Half past eleven and half past twelve in the night: two days in UTC, one an hour east of it."""
    late = Candidate(BackupId("late"), "s", datetime(2026, 3, 16, 23, 30, tzinfo=UTC), GOOD)
    early = Candidate(BackupId("early"), "s", datetime(2026, 3, 17, 0, 30, tzinfo=UTC), GOOD)
    assert left(Keep(day_backups=9, timezone="UTC+00:00"), [late, early]) == ["late", "early"]
    assert left(Keep(day_backups=9, timezone="UTC+01:00"), [late, early]) == ["early"]
    assert left(Keep(day_backups=9, timezone="UTC-02:00"), [late, early]) == ["early"]
    assert (offset("UTC-05:30"), offset(None)) == (timedelta(hours=-5, minutes=-30), timedelta(0))


def test_weeks_are_iso_weeks() -> None:
    """The last days of 2026 and the first of 2027 are one week."""
    new_year = [Candidate(BackupId(f"{day:%d}"), "s", day, GOOD)
                for day in (datetime(2026, 12, 30, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC))]  # fmt: skip
    now = datetime(2027, 1, 5, tzinfo=UTC)
    kept = [v.id for v in decide(Keep(week_backups=5, timezone="UTC+00:00"), new_year, now) if not v.removed]
    assert kept == ["02"]
    kept = [v.id for v in decide(Keep(year_backups=5, timezone="UTC+00:00"), new_year, now) if not v.removed]
    assert kept == ["30", "02"]


def test_while_the_last_run_failed_nothing_good_goes() -> None:
    failed = at(0.5, "f", state=ERROR, failed=True)
    made = [failed, at(1), at(2), at(3)]
    assert left(Keep(max_backups=1), made) == ["f", "1", "2", "3"]
    assert left(Keep(max_backups=1), [*made, at(0.1)]) == ["f", "0.1"]
    going_on = at(0, "p", state=BackupState.PROTECTING)
    assert left(Keep(max_backups=1), [going_on, *made]) == ["p", "f", "1", "2", "3"], "one that goes on tells nothing"
    ahead = at(-1000, "a", state=ERROR, failed=True)
    assert left(Keep(max_backups=1), [at(0.1), *made, ahead]) == ["0.1", "f", "a"], "nor does one of a wrong clock"


def test_failed_ones_are_few_and_young() -> None:
    failed = [at(day, state=ERROR, failed=True) for day in (*range(1, 13), 31)]
    assert left(Keep(), failed) == [f"{day}" for day in range(1, 11)]
    assert left(Keep(), [at(FAILED_DAYS + 1, state=ERROR, failed=True)]) == []


def test_a_hold_binds_and_what_nobody_scheduled_or_that_is_worked_on_is_left_alone() -> None:
    made = [
        at(1), at(2, held_until=NOW + timedelta(days=1)), at(3, held_until=NOW), at(4, scheduled=False),
        at(5, state=BackupState.RESTORING), at(6, state=BackupState.DELETING), at(7, state=ERROR), at(-300),
    ]  # fmt: skip
    found = {v.id: v for v in decide(Keep(max_backups=1), made, NOW)}
    assert [id for id, verdict in found.items() if verdict.removed] == ["3"]
    assert found["2"].reasons == ("held until 2026-03-18 12:00:00 UTC",)
    assert found["4"].reasons == ("no schedule made it",)
    assert found["5"].reasons == ("it is restoring",)
    assert "which has not come yet" in found["-300"].reasons[0]
    assert found["1"].reasons == ("one of the newest 1", "the newest good one of its server")


# ------------------------------------------------------------------ whatever there is

_STATES = st.sampled_from([GOOD] * 6 + list(BackupState))


@st.composite
def _candidates(draw: st.DrawFn) -> list[Candidate]:
    made = []
    for number in range(draw(st.integers(0, 25))):
        state = draw(_STATES)
        hours = draw(st.integers(-50, 24 * 60) | st.integers(0, 24 * 1200))
        made.append(
            Candidate(
                BackupId(f"b{number:02}"), draw(st.sampled_from("st")), NOW - timedelta(hours=hours), state,
                scheduled=draw(st.booleans() | st.just(True)), failed=state is ERROR and draw(st.booleans()),
                held_until=draw(st.none() | st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)])),
            )
        )  # fmt: skip
    return made


_FEW = st.none() | st.integers(1, 6)
_KEEPS = st.builds(
    Keep, max_backups=st.none() | st.just(-1) | st.integers(1, 8), retention_duration_days=st.none() | st.just(-1)
    | st.integers(1, 90), permanent=st.sampled_from([None, False, False, True]), day_backups=_FEW, week_backups=_FEW,
    month_backups=_FEW, year_backups=_FEW, timezone=st.sampled_from(["UTC+00:00", "UTC+05:30", "UTC-11:00"]),
)  # fmt: skip


def _counted(made: list[Candidate], server: str) -> list[Candidate]:
    """What the rules apply to, oldest first."""
    found = [each for each in made if each.server == server and each.scheduled and each.state is GOOD]
    return sorted((each for each in found if each.made_at <= NOW), key=lambda each: (each.made_at, each.id))


def _selected(keep: Keep, counted: list[Candidate]) -> set[str]:
    """CSBS, 10.1: the last backup of each of the last N days, ISO weeks, months, years that have one."""
    assert keep.timezone is not None
    zone = offset(keep.timezone)
    chosen: set[str] = set()
    for number, form in ((keep.day_backups, "%Y %j"), (keep.week_backups, "%G %V"), (keep.month_backups, "%Y %m"),
                         (keep.year_backups, "%Y")):  # fmt: skip
        buckets: dict[str, str] = {}
        for each in counted:
            buckets[(each.made_at + zone).strftime(form)] = each.id
        chosen.update(buckets[name] for name in sorted(buckets)[len(buckets) - min(number or 0, len(buckets)) :])
    return chosen


def _stays(keep: Keep, each: Candidate, counted: list[Candidate]) -> bool:
    """CSBS, 10.3, sentence by sentence, without what is ours."""
    rules = (keep.max_backups, keep.retention_duration_days, keep.day_backups, keep.week_backups, keep.month_backups,
             keep.year_backups)  # fmt: skip
    if keep.permanent or all(rule is None for rule in rules):
        return True
    if each.id in _selected(keep, counted):
        return True
    if rules[0] is None and rules[1] is None:
        return False
    newer = len([other for other in counted if (other.made_at, other.id) > (each.made_at, each.id)])
    too_many = keep.max_backups not in (None, -1) and newer >= int(keep.max_backups or 0)
    days = keep.retention_duration_days
    too_old = days not in (None, -1) and NOW - each.made_at > timedelta(days=int(days or 0))
    return not (too_many or too_old)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(keep=_KEEPS, made=_candidates())
def test_whatever_there_is_the_contract_decides(keep: Keep, made: list[Candidate]) -> None:
    verdicts = decide(keep, made, NOW)
    assert [verdict.id for verdict in verdicts] == [each.id for each in made]
    removed = {verdict.id for verdict in verdicts if verdict.removed}
    assert all(verdict.reasons for verdict in verdicts)
    for server in "st":
        counted = _counted(made, server)
        last = max((each for each in made if each.server == server and each.scheduled
                    and each.state is not BackupState.PROTECTING and each.made_at <= NOW),
                   key=lambda each: (each.made_at, each.id), default=None)  # fmt: skip
        for each in counted:
            held = each.held_until is not None and each.held_until > NOW
            saved = held or each is counted[-1] or (last is not None and last.state is ERROR)
            assert (each.id in removed) == (not saved and not _stays(keep, each, counted)), each
    rules_apply = {each.id for server in "st" for each in _counted(made, server)}
    assert removed <= rules_apply | {each.id for each in made if each.failed and each.scheduled}


@settings(max_examples=_EXAMPLES, deadline=None)
@given(keep=_KEEPS, made=_candidates(), data=st.data())
def test_a_second_look_removes_nothing_more_and_order_and_neighbours_do_not_matter(
    keep: Keep, made: list[Candidate], data: st.DataObject
) -> None:
    first = decide(keep, made, NOW)
    gone = {verdict.id for verdict in first if verdict.removed}
    again = decide(keep, [each for each in made if each.id not in gone], NOW)
    assert not any(verdict.removed for verdict in again)
    mixed = data.draw(st.permutations(made))
    assert {v.id: v for v in decide(keep, list(mixed), NOW)} == {v.id: v for v in first}
    alone: dict[str, Verdict] = {}
    servers = defaultdict(list)
    for each in made:
        servers[each.server].append(each)
    for of_server in servers.values():
        alone |= {verdict.id: verdict for verdict in decide(keep, of_server, NOW)}
    assert alone == {verdict.id: verdict for verdict in first}


@settings(max_examples=_EXAMPLES, deadline=None)
@given(made=_candidates())
def test_of_the_failed_ones_no_more_are_left_than_may_be(made: list[Candidate]) -> None:
    verdicts = {verdict.id: verdict for verdict in decide(Keep(max_backups=1), made, NOW)}
    for server in "st":
        kept = [each for each in made if each.server == server and each.failed and each.scheduled
                and not verdicts[each.id].removed and not (each.held_until and each.held_until > NOW)]  # fmt: skip
        assert len(kept) <= FAILED_KEPT
        assert all(NOW - each.made_at <= timedelta(days=FAILED_DAYS) for each in kept)
