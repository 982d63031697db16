"""Schedules: what is accepted, and which moments it means, held against a model that counts minutes."""

from datetime import UTC, date, datetime, timedelta
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restead.calendar_times import FURTHEST, next_time, times
from restead.domain.errors import InvalidRequest
from restead.domain.schedule import WEEKDAYS, schedule

MONDAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "pattern",
    [
        "RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        "BEGIN:VEVENT\n  RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30  \nDTSTART:nonsense",
        "RRULE:BYMINUTE=30;BYHOUR=2;FREQ=DAILY;",
        "rrule:freq=daily;byhour=2;byminute=30",
        "RRULE:FREQ=DAILY;INTERVAL=30;BYHOUR=2;BYMINUTE=30",
        "RRULE:FREQ=WEEKLY;BYDAY=MO,SU;BYHOUR=2;BYMINUTE=30",
        "RRULE:FREQ=DAILY;BYDAY=MO;BYHOUR=2;BYMINUTE=30",
        "RRULE:FREQ=DAILY;BYHOUR=" + ",".join(map(str, range(24))) + ";BYMINUTE=0",
        "RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30\nRRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
        "RRULE:FREQ=DAILY;INTERVAL=2;BYHOUR=0,23;BYMINUTE=30",
        "RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=2;BYMINUTE=0\nRRULE:FREQ=WEEKLY;BYDAY=TU;BYHOUR=2;BYMINUTE=30",
    ],
)
def test_what_the_contract_allows_is_accepted(pattern: str) -> None:
    assert schedule(pattern, MONDAY)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("fold", [" ", "\t"])
def test_a_folded_line_is_one_line(fold: str, end: str) -> None:
    """As iCalendar folds what is longer than 75 octets, wherever that is: 09:15 is not 09:01."""
    rule = f"{end}{fold}".join(("RRULE:FREQ=DAILY;BYHO", "UR=8,", "9;BYMINUTE=1", "5"))
    folded = f"BEGIN:VEVENT{end}  {rule}{end}   {end}END:VEVENT"
    assert schedule(folded, MONDAY) == schedule("RRULE:FREQ=DAILY;BYHOUR=8,9;BYMINUTE=15", MONDAY)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "0 RRULE lines"),
        ("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "0 RRULE lines"),
        ("RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30\n" * 9, "9 RRULE lines"),
        ("RRULE:FREQ=SECONDLY;BYHOUR=2;BYMINUTE=30", "neither DAILY nor WEEKLY"),
        ("RRULE:FREQ=MONTHLY;BYHOUR=2;BYMINUTE=30", "neither DAILY nor WEEKLY"),
        ("RRULE:BYHOUR=2;BYMINUTE=30", "neither DAILY nor WEEKLY"),
        ("RRULE:FREQ=DAILY;BYMINUTE=30", "BYHOUR is missing"),
        ("RRULE:FREQ=DAILY;BYHOUR=2", "BYMINUTE is missing"),
        ("RRULE:FREQ=DAILY;BYHOUR=24;BYMINUTE=0", "BYHOUR=24"),
        ("RRULE:FREQ=DAILY;BYHOUR=-1;BYMINUTE=0", "BYHOUR=-1"),
        ("RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=60", "BYMINUTE=60"),
        ("RRULE:FREQ=DAILY;BYHOUR=²;BYMINUTE=0", "BYHOUR=²"),
        ("RRULE:FREQ=DAILY;BYHOUR=2,;BYMINUTE=0", "BYHOUR="),
        ("RRULE:FREQ=WEEKLY;BYHOUR=2;BYMINUTE=30", "goes with BYDAY"),
        ("RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;BYHOUR=2;BYMINUTE=30", "without INTERVAL"),
        ("RRULE:FREQ=WEEKLY;BYDAY=1MO;BYHOUR=2;BYMINUTE=30", "BYDAY=1MO"),
        ("RRULE:FREQ=DAILY;INTERVAL=31;BYHOUR=2;BYMINUTE=30", "INTERVAL=31"),
        ("RRULE:FREQ=DAILY;INTERVAL=1,2;BYHOUR=2;BYMINUTE=30", "2 values"),
        ("RRULE:FREQ=DAILY;COUNT=3;BYHOUR=2;BYMINUTE=30", "COUNT=3"),
        ("RRULE:FREQ=DAILY;UNTIL=20270101;BYHOUR=2;BYMINUTE=30", "UNTIL"),
        ("RRULE:FREQ=DAILY;FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "twice"),
        ("RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=0,30", "30 minutes apart"),
        ("RRULE:FREQ=DAILY;BYHOUR=0,23;BYMINUTE=30\nRRULE:FREQ=DAILY;BYHOUR=0;BYMINUTE=0", "30 minutes apart"),
        ("RRULE:FREQ=DAILY;BYHOUR=5;BYMINUTE=0,59", "59 minutes apart"),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=23;BYMINUTE=30\nRRULE:FREQ=WEEKLY;BYDAY=TU;BYHOUR=0;BYMINUTE=0", "30 min"),
        ("RRULE:FREQ=WEEKLY;BYDAY=TU;BYHOUR=0;BYMINUTE=0\nRRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=23;BYMINUTE=30", "30 min"),
        ("RRULE:FREQ=DAILY;INTERVAL=7;BYDAY=TU;BYHOUR=2;BYMINUTE=30", "never comes"),
        ("RRULE:FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=" + ",".join(map(str, range(60))), "180 times"),
        ("x" * 10_241, "10241 characters"),
    ],
)
def test_anything_else_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^trigger.properties.pattern: ") as refusal:
        schedule(pattern, MONDAY)
    assert reason in refusal.value.message


@st.composite
def _patterns(draw: st.DrawFn) -> str:
    minute, hours = draw(st.integers(0, 59)), draw(st.sets(st.integers(0, 23), min_size=1, max_size=4))
    when = f"BYHOUR={','.join(map(str, hours))};BYMINUTE={minute}"
    days = ",".join(draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1)))
    return draw(
        st.sampled_from(
            [f"RRULE:FREQ=WEEKLY;BYDAY={days};{when}",
             f"RRULE:FREQ=DAILY;INTERVAL={draw(st.integers(1, 30))};{when}",
             f"RRULE:FREQ=DAILY;INTERVAL=3;BYDAY={days};{when}"]
        )
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    pattern=_patterns(),
    begun=st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1)),
    ago=st.integers(0, 6_000_000),
    span=st.integers(0, 15 * 24 * 60),
)
def test_the_moments_are_those_that_counting_minutes_finds(pattern: str, begun: datetime, ago: int, span: int) -> None:
    """Whatever the rule, however long ago the schedule began."""
    start = begun.replace(tzinfo=UTC)
    rules = schedule(pattern, start.date())
    after = start + timedelta(minutes=ago % 3_000_000)
    until = after + timedelta(minutes=span)
    (rule,) = rules
    counted = []
    moment = after.replace(second=0, microsecond=0)
    while moment <= until:
        day = (moment.date() - start.date()).days
        if (moment > after and moment.hour * 60 + moment.minute in rule.times
                and rule.comes(day, start.weekday())):  # fmt: skip
            counted.append(moment)
        moment += timedelta(minutes=1)
    assert times(rules, start, after, until) == counted


def test_a_moment_of_two_rules_is_one_and_the_first_comes_next() -> None:
    rules = schedule("RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30\nRRULE:FREQ=WEEKLY;BYDAY=TU;BYHOUR=2,4;BYMINUTE=30", MONDAY)
    found = times(rules, NOON, NOON, NOON + timedelta(days=2))
    assert [f"{each:%d %H:%M}" for each in found] == ["03 02:30", "03 04:30", "04 02:30"]
    assert next_time(rules, NOON, NOON) == found[0]
    assert times(rules, NOON, found[0], found[1]) == found[1:2], "behind the first, up to and with the second"


def test_the_rarest_rule_is_found_and_the_search_has_an_end() -> None:
    """Every 30 days and only on Sundays: once in 210 days; and after fifty years it costs no more."""
    rules = schedule("RRULE:FREQ=DAILY;INTERVAL=30;BYDAY=SU;BYHOUR=2;BYMINUTE=30", MONDAY)
    first = next_time(rules, NOON, NOON)
    assert first is not None
    assert first.weekday() == 6
    assert next_time(rules, NOON, first) == first + timedelta(days=210)
    later = NOON + timedelta(days=50 * 365)
    assert len(times(rules, NOON, NOON, later)) == 1, "of a long stretch only the end is looked at"
    assert times(rules, NOON, later - FURTHEST, later) == times(rules, NOON, NOON, later)


def _daily(every: int, weekday: int | None, at: tuple[int, int]) -> str:
    days = "" if weekday is None else f"BYDAY={WEEKDAYS[weekday]};"
    return f"RRULE:FREQ=DAILY;INTERVAL={every};{days}BYHOUR={at[0]};BYMINUTE={at[1]}"


_WEEKDAY = st.none() | st.integers(0, 6)


@settings(max_examples=150, deadline=None)
@given(
    every=st.tuples(st.integers(1, 30), st.integers(1, 30)), weekdays=st.tuples(_WEEKDAY, _WEEKDAY),
    first=st.sampled_from([(23, 30), (12, 0), (0, 10)]), begun=st.integers(0, 6),
)  # fmt: skip
def test_two_rules_are_too_near_if_some_day_they_are(
    every: tuple[int, int], weekdays: tuple[int | None, int | None], first: tuple[int, int], begun: int
) -> None:
    """Whether they ever meet is reckoned; here each day of twenty years is looked at."""
    start = MONDAY + timedelta(days=begun)
    lines = [_daily(every[0], weekdays[0], first), _daily(every[1], weekdays[1], (0, 10))]
    try:
        one, other = (schedule(line, start)[0] for line in lines)
    except InvalidRequest:
        return  # one of them never comes
    days = range(7300)
    firsts, seconds = (
        {day * 1440 + rule.times[0] for day in days if rule.comes(day, start.weekday())} for rule in (one, other)
    )
    if any(moment + by in seconds for moment in firsts for by in range(-59, 60) if by):
        with pytest.raises(InvalidRequest, match="minutes apart"):
            schedule("\n".join(lines), start)
    else:
        schedule("\n".join(lines), start)


def test_rules_that_never_meet_are_soon_known_not_to() -> None:
    """Eight of them: the schedule of every policy is read at each look, every ten seconds."""
    lines = [_daily(every, 0, (2 * at, 0)) for at, every in enumerate((30, 29, 27, 26, 25, 23, 22, 19))]
    began = process_time()
    for _ in range(50):
        schedule("\n".join(lines), MONDAY)
    assert process_time() - began < 1
