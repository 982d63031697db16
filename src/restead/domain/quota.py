"""How much a project may keep."""

from dataclasses import dataclass

from restead.domain.errors import Code, InvalidRequest

UNLIMITED = -1
GIB = 2**30


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """What an operator allows each project; UNLIMITED (-1) for no limit."""

    backups: int = UNLIMITED  # number of backups
    capacity: int = UNLIMITED  # GiB stored


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit and what is used of it (CSBS, section 12)."""

    type: str
    quota: int
    used: int
    unit: str | None = None


def quotas(limits: QuotaLimits, *, backups: int, stored: int) -> tuple[Quota, ...]:
    """Return the quotas of a project that keeps so many *backups* with so many *stored* bytes."""
    return (
        Quota("backup_capacity", limits.capacity, -(-stored // GIB), unit="GB"),
        Quota("backups", limits.backups, backups),
    )


def check_quotas(limits: QuotaLimits, *, backups: int, stored: int) -> None:
    """Return if one more backup may be begun.

    Raises:
        InvalidRequest: CSBS.9006, with both numbers.
    """
    for name, limit, used, unit in (
        ("backups", limits.backups, backups, ""),
        ("backup_capacity", limits.capacity, stored / GIB, " GB"),
    ):
        if limit != UNLIMITED and used >= limit:
            raise InvalidRequest(
                f"quota {name} of the project is {limit}{unit} and {used:g}{unit} are used: delete backups first",
                code=Code.QUOTA_EXCEEDED,
            )
