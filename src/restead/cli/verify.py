"""`restead repository verify`, `scrub` and `damage`: whether what is stored is what was stored."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from restead.cli.doors import Doors, Stored
from restead.cli.progress import Bar
from restead.cli.restore_actions import bytes_per_second
from restead.cli.show import count_of, print_json, print_line, ranges, size, when
from restead.cli.wiring import (
    ConfigOption,
    Exit,
    Json,
    doors_of,
    fail,
    looking_into_folder,
    on_folder,
    say,
    settings_of,
)
from restead.domain.verification import DamagedDisk, Depth, Finding, Verification, VerificationState

_DONE = {
    Depth.STRUCTURE: "of {} of packs tables of contents and pages were read, and no chunk",
    Depth.OBJECTS: "every bit of {} of packs was hashed",
    Depth.FULL: "everything in {} of packs was opened",
}
"""Depth → what was done to the packs."""

Rate = Annotated[
    str, typer.Option(help="Read so many bytes per second at most: 50M, 1.5G, none.", metavar="RATE")
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew, though an earlier one was interrupted.")]


@on_folder
def verify(
    stored: Stored,
    depth: Annotated[
        Depth,
        typer.Option(help="structure: everything has its place; objects: every bit is hashed; full: and opened."),
    ] = Depth.OBJECTS,
    rate: Rate = "none",
    restart: Restart = False,
    json: Json = False,
) -> None:
    """Look at all that is stored, and say which backups need what is damaged. Exit code 1 if anything is."""
    with Bar(f"verifying ({depth.value})", as_json=json) as bar:
        limit = bytes_per_second(rate)
        found = stored.verify(depth, limit, restart, lambda done, total: bar.show(_percent(done, total)))
    _tell(found, json)
    if found.state is VerificationState.DAMAGED:
        raise typer.Exit(Exit.FAILED)


def scrub(
    ctx: typer.Context,
    address: Annotated[
        str, typer.Argument(help="A repository, or a copy of one: a folder, or s3://BUCKET/PREFIX.", metavar="ADDRESS")
    ],
    rate: Rate = "none",
    restart: Restart = False,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Hash every bit of every object of a repository; needs no key. Exit code 1 if anything is damaged."""
    doors: Doors = doors_of(ctx)
    settings, limit = settings_of(config), bytes_per_second(rate)
    findings, read = [], 0
    with Bar("scrubbing", as_json=json) as bar:

        def told(done: int, total: int) -> None:
            nonlocal read
            read = done
            bar.show(_percent(done, total))

        for finding in doors.scrub(settings, address, limit, restart, told):
            findings.append(finding)
            _tell_finding(finding, json)
    if json:
        state = VerificationState.DAMAGED if findings else VerificationState.SOUND
        print_json({"state": state.value, "read": read, "findings": [_finding(each) for each in findings]})
    if findings:
        raise fail(f"{count_of(len(findings), 'object')} damaged", Exit.FAILED)
    say("every object is what its name or its digest says")


@looking_into_folder
def damage(stored: Stored, json: Json = False) -> None:
    """Show what the last verification found: damaged objects, and the backups, disks and byte ranges that need them."""
    found = stored.verified()
    if found is None:
        say("nothing was verified yet: restead repository verify")
        return
    _tell(found, json)
    if found.state is VerificationState.DAMAGED:
        raise typer.Exit(Exit.FAILED)


def _percent(done: int, total: int) -> int:
    return done * 100 // total if total else 100


def _tell(found: Verification, json: bool) -> None:
    if json:
        print_json(plain(found))
        return
    for finding in found.findings:
        _tell_finding(finding, json)
    for disk in found.disks:
        for line in _lines(disk):
            print_line(line)
    ended = "sound" if found.state is VerificationState.SOUND else f"{count_of(len(found.findings), 'object')} damaged"
    done = _DONE[found.depth].format(size(found.read))
    say(f"{found.depth.value}, begun {when(found.started_at)} UTC: {ended}; {done}")


def _tell_finding(finding: Finding, json: bool) -> None:
    if json:
        print_json(_finding(finding))
    else:
        print_line(finding.message)


def _finding(finding: Finding) -> dict[str, str]:
    return {"object": finding.object, "message": finding.message}


def _lines(disk: DamagedDisk) -> Iterator[str]:
    whose = f"backup {disk.backup_id} {disk.backup_name}" if disk.backup_id else f"manifest {disk.manifest}, in no list"
    lost = size(disk.lost) if disk.ranges else "all"
    server = f" of server {disk.server_name}" if disk.server_name else ""
    called = f"{disk.disk_name} ({disk.disk})" if disk.disk_name else disk.disk
    yield f"{whose}{server}: {lost} of disk {called} is lost"
    yield from ranges(disk.ranges)


def plain(found: Verification) -> dict[str, Any]:
    """Return a verification as JSON."""
    return {
        "id": found.id, "depth": found.depth.value, "state": found.state.value,
        "started_at": found.started_at.isoformat(),
        "finished_at": found.finished_at and found.finished_at.isoformat(),
        "read": found.read, "objects": found.objects,
        "findings": [_finding(each) for each in found.findings],
        "disks": [
            {"manifest": each.manifest, "project": each.project_id, "disk": each.disk, "backup_id": each.backup_id,
             "backup": each.backup_name, "disk_backup_id": each.disk_backup_id, "server": each.server_name,
             "disk_name": each.disk_name, "lost": each.lost, "ranges": [list(one) for one in each.ranges],
             "message": each.message}
            for each in found.disks
        ],
    }  # fmt: skip
