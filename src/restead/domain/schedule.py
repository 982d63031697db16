"""When a policy runs: the part of iCalendar that the contract allows, read strictly (CSBS, section 10.2).

Which moments these rules mean is computed in `calendar_times`, with an iCalendar library; here is what can be said of
them without any moment.
"""

import re
from dataclasses import dataclass
from datetime import date
from itertools import combinations_with_replacement, product
from math import lcm

from restead.domain.errors import InvalidRequest
from restead.domain.wording import count_of

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
LONGEST_PATTERN = 10_240  # characters
_MOST_TIMES = 24  # in a day
_LEAST_APART = 60  # minutes between two times
_MOST_RULES = 8  # RRULE lines: our own bound on how long comparing them can take
_DAY = 24 * 60  # minutes
_LINE = re.compile(r"RRULE:(.*)", re.IGNORECASE | re.DOTALL)
# A line that begins with a blank goes on with the one before it (RFC 2445, 4.1), unless it names a property: blanks
# around lines mean nothing, and no value that is read here holds a colon.
_FOLD = re.compile(r"(?:\r\n|\n|\r)[ \t]([^:\r\n]*)(?=[\r\n]|\Z)")
_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII)
_PARTS = ("FREQ", "BYDAY", "BYHOUR", "BYMINUTE", "INTERVAL")


@dataclass(frozen=True, slots=True)
class Rule:
    """One RRULE: at these times (UTC), every so many days, on these days of the week."""

    every: int  # days
    weekdays: frozenset[int]  # 0 is Monday; all seven if it does not matter
    hours: tuple[int, ...]
    minutes: tuple[int, ...]

    @property
    def times(self) -> list[int]:
        """Minutes of the day, in order."""
        return sorted(hour * 60 + minute for hour, minute in product(self.hours, self.minutes))

    def comes(self, day: int, first_weekday: int) -> bool:
        """Tell whether it comes on that day, counted from the schedule's first, which is that day of the week."""
        return day % self.every == 0 and (first_weekday + day) % 7 in self.weekdays


def schedule(pattern: str, start: date) -> tuple[Rule, ...]:
    """Return the rules of a pattern whose days are counted from *start* on.

    Only RRULE lines are read; what is around them may be complete, partial or absent.

    Raises:
        InvalidRequest: it says something else than the contract allows, or never comes.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise _wrong(f"has {len(pattern)} characters, may have {LONGEST_PATTERN}")
    lines = re.split(r"\r\n|\n|\r", _FOLD.sub(r"\1", pattern))
    found = [match[1] for line in lines if (match := _LINE.fullmatch(line.strip()))]
    if not 1 <= len(found) <= _MOST_RULES:
        raise _wrong(f"has {len(found)} RRULE lines, may have 1 to {_MOST_RULES}")
    rules = tuple(map(_rule, found))
    _check_apart(rules, start.weekday())
    return rules


def _rule(text: str) -> Rule:
    parts: dict[str, str] = {}
    for part in text.strip().rstrip(";").split(";"):
        name, equals, value = (each.strip().upper() for each in part.partition("="))
        if name not in _PARTS or not equals:
            raise _wrong(f"{part[:64]!r} is none of {', '.join(_PARTS)}")
        if name in parts:
            raise _wrong(f"{name} is given twice")
        parts[name] = value
    frequency = parts.get("FREQ", "")
    if frequency not in ("DAILY", "WEEKLY"):
        raise _wrong(f"FREQ={frequency[:64]} is neither DAILY nor WEEKLY")
    if frequency == "WEEKLY" and ("BYDAY" not in parts or "INTERVAL" in parts):
        raise _wrong("FREQ=WEEKLY goes with BYDAY, and without INTERVAL")
    return Rule(
        every=_numbers("INTERVAL", parts.get("INTERVAL", "1"), 1, 30, most=1)[0],
        weekdays=_weekdays(parts["BYDAY"]) if "BYDAY" in parts else frozenset(range(7)),
        hours=_numbers("BYHOUR", parts.get("BYHOUR", ""), 0, 23),
        minutes=_numbers("BYMINUTE", parts.get("BYMINUTE", ""), 0, 59),
    )


def _weekdays(text: str) -> frozenset[int]:
    days = [day.strip() for day in text.split(",")]
    for day in days:
        if day not in WEEKDAYS:
            raise _wrong(f"BYDAY={day[:64]} is none of {', '.join(WEEKDAYS)}")
    return frozenset(map(WEEKDAYS.index, days))


def _numbers(name: str, text: str, least: int, largest: int, *, most: int = 60) -> tuple[int, ...]:
    if not text:
        raise _wrong(f"{name} is missing")
    found = set()
    for each in text.split(","):
        if not _NUMBER.fullmatch(each.strip()) or not least <= int(each) <= largest:
            raise _wrong(f"{name}={each[:64]} is not {least} to {largest}")
        found.add(int(each))
    if len(found) > most:
        raise _wrong(f"{name} has {len(found)} values, may have {most}")
    return tuple(sorted(found))


def _check_apart(rules: tuple[Rule, ...], weekday: int) -> None:
    for rule in rules:
        if len(rule.times) > _MOST_TIMES:
            raise _wrong(f"says {len(rule.times)} times in a day, may say {_MOST_TIMES}")
        if not any(rule.comes(day, weekday) for day in range(lcm(7, rule.every))):
            raise _wrong(
                f"never comes: every {count_of(rule.every, 'day')} from a {WEEKDAYS[weekday]} on is never one of "
                f"{', '.join(WEEKDAYS[day] for day in sorted(rule.weekdays))}"
            )
    for one, other in combinations_with_replacement(rules, 2):
        for later in (-1, 0, 1):  # days by which the other one comes later
            if _meet(one, other, later, weekday):
                _check_times(one, other, later)


def _meet(one: Rule, other: Rule, later: int, weekday: int) -> bool:
    whole = lcm(7, one.every, other.every)  # days after which all begins anew
    days = range(whole, 2 * whole, one.every)  # the others are none of the first one's
    return any(one.comes(day, weekday) and other.comes(day + later, weekday) for day in days)


def _check_times(one: Rule, other: Rule, later: int) -> None:
    for first, second in product(one.times, other.times):
        apart = abs(second + later * _DAY - first)
        if 0 < apart < _LEAST_APART:
            raise _wrong(
                f"{first // 60:02}:{first % 60:02} and {second // 60:02}:{second % 60:02} are "
                f"{count_of(apart, 'minute')} apart, must be {_LEAST_APART} or more"
            )


def _wrong(what: str) -> InvalidRequest:
    return InvalidRequest(f"trigger.properties.pattern: {what}")
