"""The moments that a schedule means, computed by an iCalendar library and never further than a bound.

Apart from `domain`, which needs only the standard library, so that whoever accepts schedules and whoever keeps them
compute alike.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dateutil.rrule import DAILY, rrule  # type: ignore[import-untyped]

from restead.domain.schedule import Rule

FURTHEST = timedelta(days=7 * 30 + 1)  # every 30 days on one day of the week: the longest that a rule can pause


def times(rules: Sequence[Rule], start: datetime, after: datetime, until: datetime) -> list[datetime]:
    """Return the moments behind *after* up to and with *until*, in order, each once.

    *start*: the moment whose day the rules count from.  Of a stretch longer than FURTHEST only the end is looked at.
    """
    after = max(after, until - FURTHEST)
    found: set[datetime] = set()
    for rule in rules:
        found.update(_moments(rule, start, after, until))
    return sorted(moment for each in found if (moment := each.replace(tzinfo=UTC)) > after)


def next_time(rules: Sequence[Rule], start: datetime, after: datetime) -> datetime | None:
    """Return the first moment behind *after*, None if there is none (which `domain.schedule` does not accept)."""
    for days in (1, 8, FURTHEST.days):  # most come soon
        if found := times(rules, start, after, after + timedelta(days=days)):
            return found[0]
    return None


def _moments(rule: Rule, start: datetime, after: datetime, until: datetime) -> rrule:
    first = _naive(start).replace(hour=0, minute=0, second=0, microsecond=0)
    # Begun near the stretch, on a day that the rule counts; with an end, or one that never comes would run on for ever.
    skipped = max(0, (_naive(after) - first).days) // rule.every * rule.every
    return rrule(
        DAILY, dtstart=first + timedelta(days=skipped), interval=rule.every, byweekday=sorted(rule.weekdays),
        byhour=rule.hours, byminute=rule.minutes, bysecond=0, until=_naive(until),
    )  # fmt: skip


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
