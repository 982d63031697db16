"""What of a policy's backups is kept, and why (CSBS, section 10.3).

Pure: `decide` is given all that the policy has made and says of each whether it goes.  Only backups that a schedule
made can go.  Whatever the rules say, the newest good one of each server stays, nothing good of a server goes while its
last scheduled run failed, and a clock that once was ahead removes nothing: what seems to be made later than now
neither counts nor goes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from restead.domain.backup import Backup
from restead.domain.ids import BackupId, canonical_id
from restead.domain.policy import Keep
from restead.domain.states import BackupState
from restead.domain.wording import count_of

FAILED_KEPT, FAILED_DAYS = 10, 30  # CSBS, section 10.3: "at most 10 are kept for each server, none longer than 30 days"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup as retention sees it."""

    id: BackupId
    server: str  # canonical id
    made_at: datetime  # the moment that it shows
    state: BackupState
    scheduled: bool = True
    failed: bool = False  # the run that should have made it failed
    held_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a backup, and why; several reasons if several keep it."""

    id: BackupId
    removed: bool
    reasons: tuple[str, ...]


def candidate(backup: Backup) -> Candidate:
    """Return a backup as retention sees it."""
    return Candidate(
        id=backup.id,
        server=canonical_id(backup.server.id),
        made_at=backup.protected_at or backup.created_at,
        state=backup.state,
        scheduled=backup.scheduled_at is not None,
        # One that was good once, and is lost now, did not fail to be made: somebody has to look at it.
        failed=backup.state is BackupState.ERROR and backup.protected_at is None,
        held_until=backup.held_until,
    )


def decide(keep: Keep, made: Sequence[Candidate], now: datetime) -> list[Verdict]:
    """Return what becomes of each, in the order given."""
    servers: dict[str, list[Candidate]] = defaultdict(list)
    for each in made:
        servers[each.server].append(each)
    verdicts = {verdict.id: verdict for server in servers.values() for verdict in _of_server(keep, server, now)}
    return [verdicts[each.id] for each in made]


def _of_server(keep: Keep, made: Sequence[Candidate], now: datetime) -> list[Verdict]:
    newest_first = sorted(made, key=lambda each: (each.made_at, each.id), reverse=True)
    ended = [each for each in newest_first if each.scheduled and each.state is not BackupState.PROTECTING]
    good = [each for each in ended if each.state is BackupState.AVAILABLE and each.made_at <= now]
    failed = [each for each in ended if each.failed]
    reasons = _kept_by_rules(keep, good, now)
    if good:
        reasons[good[0].id].append("the newest good one of its server")
    last = next((each for each in ended if each.made_at <= now), None)
    if last is not None and last.state is BackupState.ERROR:
        for each in good:
            reasons[each.id].append("the last scheduled run of its server failed")
    for each in failed[:FAILED_KEPT]:
        if now - each.made_at <= timedelta(days=FAILED_DAYS):
            reasons[each.id].append(f"one of the last {FAILED_KEPT} that failed, and younger than {FAILED_DAYS} days")
    removable = {each.id for each in (*good, *failed)}
    return [_verdict(each, reasons[each.id], each.id in removable, now) for each in made]


def _verdict(each: Candidate, reasons: list[str], removable: bool, now: datetime) -> Verdict:
    kept = [*reasons]
    if each.held_until is not None and now < each.held_until:
        kept.append(f"held until {each.held_until:%Y-%m-%d %H:%M:%S} UTC")
    if not removable:
        kept.append(_untouched(each, now))
    if kept:
        return Verdict(each.id, removed=False, reasons=tuple(kept))
    why = f"it failed, and there are {FAILED_KEPT} later ones or it is older than {FAILED_DAYS} days"
    return Verdict(each.id, removed=True, reasons=(why if each.failed else "no rule keeps it",))


def _untouched(each: Candidate, now: datetime) -> str:
    if not each.scheduled:
        return "no schedule made it"
    if each.made_at > now:
        return f"made at {each.made_at:%Y-%m-%d %H:%M:%S} UTC, which has not come yet"
    return f"it is {each.state.value}"


def _kept_by_rules(keep: Keep, good: Sequence[Candidate], now: datetime) -> dict[BackupId, list[str]]:
    """Return for each which rules keep it.  *good*: the good ones of one server, newest first."""
    reasons: dict[BackupId, list[str]] = defaultdict(list)
    calendar = keep.calendar
    limited = keep.max_backups is not None or keep.retention_duration_days is not None
    for place, each in enumerate(good):
        if keep.permanent:
            reasons[each.id].append("the policy keeps all")
        elif not limited and not calendar:
            reasons[each.id].append("the policy says nothing of what to keep")
        elif limited and _within(keep, place, now - each.made_at):
            reasons[each.id].append(_limits(keep))
    for unit, number in calendar.items():
        for name, each in _last_of_each(unit, number, good, offset(keep.timezone)):
            reasons[each.id].append(f"the last of {unit} {name}")
    return reasons


def _within(keep: Keep, place: int, age: timedelta) -> bool:
    """Tell whether it violates none of the limits that are set; -1 is none."""
    most, days = keep.max_backups, keep.retention_duration_days
    few = most in (None, -1) or (most is not None and place < most)
    young = days in (None, -1) or (days is not None and age <= timedelta(days=days))
    return few and young


def _limits(keep: Keep) -> str:
    parts = []
    if keep.max_backups is not None:
        parts.append("no limit by number" if keep.max_backups == -1 else f"one of the newest {keep.max_backups}")
    if keep.retention_duration_days is not None:
        days = keep.retention_duration_days
        parts.append("no limit by age" if days == -1 else f"not older than {count_of(days, 'day')}")
    return " and ".join(parts)


def _last_of_each(
    unit: str, number: int, good: Sequence[Candidate], zone: timedelta
) -> list[tuple[str, Candidate]]:
    """Return the last backup of each of the last *number* days, weeks, months or years that have one."""
    found: dict[str, Candidate] = {}
    for each in good:  # newest first: the first one met is the last of its day
        found.setdefault(_name(unit, each.made_at + zone), each)
    return list(found.items())[:number]


def _name(unit: str, there: datetime) -> str:
    year, week, _ = there.isocalendar()
    return {"day": f"{there:%Y-%m-%d}", "week": f"{year}-W{week:02}", "month": f"{there:%Y-%m}",
            "year": f"{there:%Y}"}[unit]  # fmt: skip


def offset(timezone: str | None) -> timedelta:
    """Return how far `UTC+01:00` is ahead of UTC."""
    if timezone is None:
        return timedelta(0)
    sign, hours, minutes = timezone[3], int(timezone[4:6]), int(timezone[7:9])
    return (-1 if sign == "-" else 1) * timedelta(hours=hours, minutes=minutes)
