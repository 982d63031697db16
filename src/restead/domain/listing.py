"""Which part of a list a caller wants, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from restead.domain.ids import BackupId, CheckpointId, ServerId

Item = TypeVar("Item")

LARGEST_PAGE = 1000  # CSBS: "limit … 1 to 1000, default 1000"


@dataclass(frozen=True, slots=True)
class Order:
    """Sort by *key*; ties are always broken by id."""

    key: str
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """A page of a list: at most *limit* entries, after *marker*, then *offset* more skipped."""

    limit: int = LARGEST_PAGE
    marker: str | None = None
    offset: int = 0
    order: Sequence[Order] = (Order("created_at"),)
    all_projects: bool = False  # honoured for administrators only


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """The entries of one page; *more* tells whether any follow."""

    items: tuple[Item, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class BackupFilter:
    """Conditions on backups, joined by AND; None means any (CSBS, section 8.1)."""

    status: str | None = None
    name: str | None = None  # substring, any case
    resource_name: str | None = None  # substring, any case
    resource_id: ServerId | None = None
    resource_types: tuple[str, ...] = ()  # any of them; () means any
    checkpoint_id: CheckpointId | None = None
    policy_id: str | None = None
    zone: str | None = None
    address: str | None = None  # private or public
    image_type: str | None = None
    start: datetime | None = None  # created not before
    end: datetime | None = None  # created not after


@dataclass(frozen=True, slots=True)
class CheckpointFilter:
    """Conditions on checkpoints (CSBS, section 7.3)."""

    status: str | None = None
    plan_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class RestoreFilter:
    """Conditions on restores (CSBS, section 9.5)."""

    status: str | None = None
    checkpoint_id: CheckpointId | None = None
    backup_id: BackupId | None = None
    server_id: ServerId | None = None
