"""What lists, filters, counts and pages cost when there are many backups, and which way the database takes to them.

    python -m benchmarks.lists                                 SQLite, 10,000 and 1,000,000 backups in 200 projects
    python -m benchmarks.lists --database postgresql://…       two empty databases, one address each
    python -m benchmarks.lists --plans                         query plans instead of times

Rows are made up, requests are real: each goes through the whole API, in this process.  Told is the CPU of the cheapest
of several answers, so that a busy machine does no harm: SQLite works in this process, and what PostgreSQL's processes
for us have used is added, each call done by one of them.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa
import structlog

from benchmarks.many_rows import PROJECTS, fill, project
from restead.api import create_api
from restead.domain.caller import Role
from restead.records import Records, Tokens
from restead.service import Service

_CHECKPOINTS = "/providers/fc4d5750-22e7-4798-8a46-f48f62c4c1da/checkpoints"
_BY_TAGS = "/csbs_backup/resource_instances/action"
_TRIES = 15
_DAY = "start_time=2025-06-01T00:00:00Z&end_time=2025-06-02T00:00:00Z"
_NEWEST = "sort=created_at:desc"
_ORDERS = ("created_at", "updated_at", "status", "id")
_BACKUP_ORDERS = ("created_at", "updated_at", "name", "status", "protected_at", "id")
_ALLOWED = 3.0  # times what the same call costs with the fewest backups


Search = dict[str, Any]
"""What is looked for by tags."""


def calls(ids: Sequence[str]) -> Iterator[tuple[str, str | Search]]:
    """Yield (name, path or tags to find) of every kind of call; *ids* are backups of the project, oldest first."""
    items, middle, one = "/checkpoint_items?limit=50", ids[len(ids) // 2], ids[0]
    yield "show one", f"/checkpoint_items/{one}"
    yield "first page", items
    yield "page in the middle", f"{items}&marker={middle}"
    yield "last page", f"{items}&marker={ids[len(ids) // 50 + 1]}"
    yield "offset to the end", f"{items}&offset={len(ids) - 30}"
    for key in _BACKUP_ORDERS:
        for way in ("asc", "desc"):
            yield f"sort={key}:{way}", f"{items}&sort={key}:{way}"
        yield f"sort={key}, in the middle", f"{items}&sort={key}:asc&marker={middle}"
    for name, condition in _conditions(one).items():
        yield f"list: {name}", f"{items}&{condition}"
        yield f"count: {name}", f"/checkpoint_items/count?{condition}"
    yield "count all", "/checkpoint_items/count"
    yield from _others(one)
    yield "quotas", "/quotas"
    yield "tags of the project", "/csbs_backup/tags"
    stage, team = {"key": "stage", "values": ["stage-1"]}, {"key": "team", "values": ["team-7"]}
    part = {"key": "team", "values": ["*eam-7"]}
    searches: dict[str, Search] = {
        "tag": {"tags": [team]}, "tag, nowhere": {"tags": [{"key": "team", "values": ["no-such"]}]},
        "two tags": {"tags": [stage, team]}, "any of two": {"tags_any": [stage, team]},
        "a part of a value": {"tags": [part]}, "a key": {"tags": [{"key": "stage", "values": []}]},
        "not a tag": {"not_tags": [stage]}, "none of two": {"not_tags_any": [stage, team]},
        "tag and name": {"tags": [team], "matches": [{"key": "resource_name", "value": "nightly-43"}]},
        "name": {"matches": [{"key": "resource_name", "value": "nightly-43"}]},
    }  # fmt: skip
    for name, wanted in searches.items():
        yield f"find by tags: {name}", {"action": "filter", "limit": 50, **wanted}
        yield f"count by tags: {name}", {"action": "count", **wanted}


def _conditions(one: str) -> dict[str, str]:
    """Return every condition of a list of backups by a name for it; *one* is the id of a backup."""
    return {
        "status=error": "status=error", "name, found": "name=nightly-43", "name, nowhere": "name=no-such",
        "resource_name, found": "resource_name=web-3", "resource_name, nowhere": "resource_name=no-such",
        "resource_id": "resource_id=server-3-of-7", "checkpoint_id": f"checkpoint_id=c-{one}",
        "policy_id": "policy_id=plan-3-of-7", "az": "az=zone-2", "az, nowhere": "az=no-such", "ip": "ip=10.0.7.3",
        "ip, nowhere": "ip=192.0.2.1", "a day": _DAY,
        "status and name": "status=available&name=nightly-43",
    }  # fmt: skip


def _others(one: str) -> Iterator[tuple[str, str]]:
    """Yield (name, path) of lists of other things than backups; *one* is the id of a backup."""
    made = {"": _NEWEST, ", plan": "plan_id=plan-3-of-7", ", a day": _DAY}
    lists = {
        "checkpoints": (_CHECKPOINTS, ("created_at", "id", "status"), {", error": "status=error", **made}),
        "restores": ("/restores", _ORDERS, {
            "": _NEWEST, ", fail": "status=fail", ", none in progress": "status=in_progress",
            ", server": "server_id=server-0-of-7", ", backup": f"checkpoint_item_id={one}"}),
        "operations": ("/operation_logs", _ORDERS, {
            ", failed": "status=failed", ", none waiting": "status=waiting", ", restores": "operation_type=restore",
            ", server": "resource_id=server-0-of-7", ", checkpoint": f"checkpoint_id=c-{one}", **made}),
    }  # fmt: skip
    for name, (path, orders, conditions) in lists.items():
        for order in orders:
            yield f"{name}, sort={order}", f"{path}?limit=50&sort={order}:asc"
        for what, condition in conditions.items():
            yield f"{name}{what}", f"{path}?limit=50&{condition}"


def calls_of_all(ids: Sequence[str]) -> Iterator[tuple[str, str | Search]]:
    """As `calls`, over all projects."""
    items, of_all = "/checkpoint_items?limit=50", "all_tenants=true"
    yield "all projects: first page", f"{items}&{of_all}"
    yield "all projects: page in the middle", f"{items}&{of_all}&marker={ids[len(ids) // 2]}"
    for key in _BACKUP_ORDERS:
        yield f"all projects, sort={key}", f"{items}&{of_all}&sort={key}:asc"
    for name, path in _others(ids[0]):
        yield f"all projects, {name}", f"{path}&{of_all}"
    for name, condition in _conditions(ids[0]).items():
        yield f"all projects, list: {name}", f"{items}&{of_all}&{condition}"
        yield f"all projects, count: {name}", f"/checkpoint_items/count?{of_all}&{condition}"
    yield "all projects: count", f"/checkpoint_items/count?{of_all}"


class Asked:
    """The API over records, asked in this process."""

    def __init__(self, records: Records) -> None:
        class Nobody:
            """No servers: nothing here asks for one."""

        self._helpers = _of_us(records) if records.on_server else []
        tokens = Tokens(records)
        self._tokens = {role: tokens.create(project(7), role=role).secret for role in (Role.MEMBER, Role.ADMIN)}
        service = Service(records, Nobody(), lambda _: None)  # type: ignore[arg-type]
        self._client = httpx2.AsyncClient(transport=httpx2.ASGITransport(create_api(service, tokens)))

    def cost(self, wanted: str | Search, role: Role) -> tuple[float, int]:
        """Return the seconds of one answer, and its size."""
        method, path, body = ("GET", wanted, None) if isinstance(wanted, str) else ("POST", _BY_TAGS, wanted)
        address = f"http://backup.test:8799/v1/{project(7)}{path}"
        return asyncio.run(
            self._cost(httpx2.Request(method, address, headers={"X-Auth-Token": self._tokens[role]}, json=body))
        )

    async def _cost(self, request: httpx2.Request) -> tuple[float, int]:
        began = self._cpu()
        answer = await self._client.send(request)
        cost = self._cpu() - began
        assert answer.status_code == 200, answer.text
        found = answer.json()
        lists = [len(each) for each in found.values() if isinstance(each, list)]
        return cost, max(lists) if lists else found.get("count", found.get("total_count", 0))

    def _cpu(self) -> float:
        """Seconds that this process and the database's for it have used."""
        return time.process_time() + sum(int(path.read_text().split()[0]) for path in self._helpers) / 1e9


def _of_us(records: Records) -> list[Path]:
    """Return where the kernel tells how many nanoseconds the database's processes for us were on a processor."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    with records.read() as tx:
        return [Path(f"/proc/{pid}/schedstat") for pid in tx.connection.scalars(sa.text(query))]


def all_calls(ids: Sequence[str]) -> Iterator[tuple[str, str | Search, Role]]:
    yield from ((name, wanted, Role.MEMBER) for name, wanted in calls(ids))
    yield from ((name, wanted, Role.ADMIN) for name, wanted in calls_of_all(ids))


def measure(places: Sequence[tuple[Records, Sequence[str]]]) -> Iterator[tuple[str, list[tuple[float, int]]]]:
    """Yield for each call what the fastest of several answers took of each of the records, asked in turn."""
    asked = [Asked(records) for records, _ in places]
    for alike in zip(*(all_calls(ids) for _, ids in places), strict=True):
        tries = [[each.cost(*call[1:]) for each, call in zip(asked, alike, strict=True)] for _ in range(_TRIES)]
        yield alike[0][0], [min(of_one) for of_one in zip(*tries, strict=True)]


def plans(records: Records, ids: Sequence[str]) -> Iterator[str]:
    """Yield which way the database takes for each kind of call."""
    seen: list[tuple[str, object]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if any(f"FROM {table}" in statement for table in ("backups", "checkpoints", "restores", "operations")):
            seen.append((statement, parameters))

    explain = "EXPLAIN (COSTS OFF) " if records.on_server else "EXPLAIN QUERY PLAN "
    asked = Asked(records)
    for name, wanted, role in all_calls(ids):
        seen.clear()
        sa.event.listen(records.engine, "before_cursor_execute", note)
        asked.cost(wanted, role)
        sa.event.remove(records.engine, "before_cursor_execute", note)
        yield f"\n{name}"
        with records.read() as tx:
            for statement, parameters in seen:
                found = tx.connection.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]
                yield from (f"    {row[-1]}" for row in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backups", type=int, nargs=2, default=[10_000, 1_000_000])
    parser.add_argument("--database", nargs=2, help="addresses of two empty databases")
    parser.add_argument("--plans", action="store_true", help="show query plans, and measure nothing")
    parser.add_argument("--keep", type=Path, help="folder of SQLite files that are filled once and used again")
    asked = parser.parse_args()
    os.environ["PGOPTIONS"] = "-c max_parallel_workers_per_gather=0"  # whose time nobody would see
    silent = structlog.ReturnLoggerFactory()
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()], logger_factory=silent)
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        urls = asked.database or [f"sqlite:///{folder}/{count}.db" for count in asked.backups]
        places = [_filled(url, count) for url, count in zip(urls, asked.backups, strict=True)]
        if asked.plans:
            for records, ids in places:
                print(*plans(records, ids), sep="\n")
        else:
            _show(measure(places))
        for records, _ in places:
            records.close()


def _filled(url: str, count: int) -> tuple[Records, list[str]]:
    records = Records.open(url)
    records.migrate()
    began = time.process_time()
    ids = fill(records, count)
    print(f"{count:,} backups in {PROJECTS} projects, {time.process_time() - began:.0f} s of CPU", flush=True)
    return records, ids


def _show(found: Iterator[tuple[str, list[tuple[float, int]]]]) -> None:
    print(f"\n{'call':40} {'few, ms':>8} {'many, ms':>9} {'ratio':>6}   entries")
    for name, ((few, size), (many, larger)) in found:
        mark = " " if many <= _ALLOWED * few else "!"
        print(f"{name:40} {few * 1e3:8.2f} {many * 1e3:9.2f} {many / few:6.1f} {mark} {size:6} {larger:7}", flush=True)


if __name__ == "__main__":
    main()
