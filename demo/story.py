"""The story, word by word: a server that works, its backup, its destruction, its restore, and the proof."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from demo import disks
from demo.disks import MARKER
from demo.guest import Report, SerialLine
from demo.service import PROVIDER, Json, Service, running_service
from demo.stage import NotProven, Stage, prove

_BOOT = 120.0  # seconds in which the guest has read its whole data disk, on a slow machine too


@dataclass
class Server:
    """The server as the story knows it."""

    system: Path
    data: Path
    files: dict[str, str]  # checksum of each file on the data disk; {} if it has no file system
    boots: bool  # whether QEMU is there to run it
    id: str = ""
    spoke_after: float = 0.0  # seconds from start to its first word
    runs: bool = False


def tell(stage: Stage, folder: Path) -> None:
    """Do everything in *folder*; raises NotProven at the first thing that is not as it has to be."""
    stage.title("restead", "a server is backed up, destroyed, and brought back; every step is proven")
    stage.chapter("A server that works")
    server = _make(stage, folder)
    with ExitStack() as opened:
        with stage.step("the service starts") as step:
            service = opened.enter_context(running_service(folder / "restead", folder / "service.log"))
            step.say(f"{service.url}, fresh folder")
        opened.callback(_leave_nothing_running, stage, server, service)
        _live_through(stage, folder, server, service)


def _leave_nothing_running(stage: Stage, server: Server, service: Service) -> None:
    if not server.runs:
        return
    try:
        _stop(server, service, "--grace", "2")
    except NotProven as error:  # said beside whatever went wrong before, not instead of it
        stage.leave_out("stopping web-1", str(error))


def _live_through(stage: Stage, folder: Path, server: Server, service: Service) -> None:
    _add(stage, server, service)
    serial = SerialLine(service.data / "servers" / f"{server.id}.serial.log")
    first = _first_boot(stage, server, service, serial) if server.boots else None
    kept = _keep(folder, server)

    stage.chapter("The backup")
    backup = _back_up(stage, server, service)

    stage.chapter("The disaster")
    _destroy(stage, server, service, serial)

    stage.chapter("The restore")
    restore = _restore(stage, server, service, backup, serial)
    if first is not None:
        _boots_again(stage, server, service, serial, first)

    stage.chapter("The proof")
    _prove(stage, folder, server, kept)
    _numbers(stage, backup, restore)


def _start(server: Server, service: Service) -> None:
    server.runs = True
    service.restead("server", "start", "web-1")


def _stop(server: Server, service: Service, *how: str) -> None:
    service.restead("server", "stop", "web-1", *how)
    server.runs = False


# ------------------------------------------------------------------ a server that works


def _make(stage: Stage, folder: Path) -> Server:
    system, data = folder / "system.raw", folder / "data.raw"
    with stage.step("two disks are made") as step:
        disks.make_system(system)
        files: dict[str, str] = {}
        if disks.has("mke2fs") and disks.has("debugfs"):
            files = disks.make_data(data, folder / "files")
            step.say(f"64 MiB, and 256 MiB: ext4 with {len(files)} files")
        else:
            disks.make_plain_data(data)
            step.say("system 64 MiB, data 256 MiB")
    if not files:
        stage.leave_out("the file system", "e2fsprogs is not installed")
    boots = disks.has("qemu-system-x86_64")
    if not boots:
        stage.leave_out("booting the server", "QEMU is not installed (Debian: qemu-system-x86)")
    return Server(system, data, files, boots)


def _add(stage: Stage, server: Server, service: Service) -> None:
    with stage.step("web-1 is added") as step:
        service.use_token()
        added = service.restead(
            "server", "add", "web-1", "--project", "demo", "--memory", "64",
            "--disk", f"path={server.system},name=system,boot", "--disk", f"path={server.data},name=data",
            "--power", "qemu" if server.boots else "none",
        )  # fmt: skip
        server.id = added.split()[-1]
        step.say("and a token is made for its project")


def _first_boot(stage: Stage, server: Server, service: Service, serial: SerialLine) -> Report:
    with stage.step("web-1 boots") as step:
        _start(server, service)
        spoke = serial.await_word("MG-MARKER", _BOOT)
        busy = "on a busy machine try again when it is quieter; KEEP=1 keeps the logs"
        prove(spoke is not None, f"web-1 did not boot within {_BOOT:g} s; {busy}")
        server.spoke_after = spoke or 0.0
        report = serial.report(_BOOT)
        prove(report.marker == MARKER, f"web-1 reports {report.marker!r}, not {MARKER!r}")
        right = disks.checksum(server.data)
        prove(report.checksum == right, f"web-1 reads checksum {report.checksum} from its data disk, not {right}")
        step.say(f"“{report.marker}”, boot {report.boots}, {report.checksum}")
    with stage.step("web-1 is stopped") as step:
        _stop(server, service)
        step.say("by its power button")
    return report


def _keep(folder: Path, server: Server) -> dict[Path, Path]:
    """Copies that nobody but the proof will look at."""
    kept = {disk: folder / f"kept-{disk.name}" for disk in (server.system, server.data)}
    for disk, copy in kept.items():
        disks.keep(disk, copy)
    return kept


# ------------------------------------------------------------------ the backup, and the disaster


def _back_up(stage: Stage, server: Server, service: Service) -> Json:
    with stage.step("web-1 is backed up") as step:
        path = f"/providers/{PROVIDER}/resources/{server.id}/action"
        checkpoint = service.post(path, {"protect": {"backup_name": "before-the-disaster"}})["checkpoint"]
        found: Json = service.get(f"/checkpoint_items?checkpoint_id={checkpoint['id']}")["checkpoint_items"][0]
        for backup in service.follow(f"/checkpoint_items/{found['id']}", "checkpoint_item", "protecting"):
            found = backup
        about = found["extend_info"]
        prove(found["status"] == "available", f"the backup is {found['status']}: {about['fail_reason']}")
        prove(len(about["volume_backups"]) == 2, f"the backup holds {len(about['volume_backups'])} disks, not 2")
        step.say(f"2 disks at one moment, {about['size']} MiB stored")
    return found


def _destroy(stage: Stage, server: Server, service: Service, serial: SerialLine) -> None:
    with stage.step("both disks are destroyed") as step:
        written = disks.destroy(server.system, server.data)
        step.say(f"{written / disks.MIB:.0f} MiB overwritten or zeroed")
    if server.files:
        with stage.step("the file system is broken") as step:
            prove(not disks.is_clean(server.data), "the destroyed data disk still holds a clean file system")
            step.say("e2fsck -fn")
    if server.boots:
        with stage.step("web-1 does not boot") as step:
            patience = max(2.0, 10 * server.spoke_after)
            serial.begin()
            _start(server, service)
            word = serial.await_word("MG-", patience)
            _stop(server, service, "--grace", "1")
            prove(word is None, "web-1 boots from a destroyed disk")
            step.say(f"it says not a word in {patience:.0f} s")


# ------------------------------------------------------------------ the restore


def _restore(stage: Stage, server: Server, service: Service, backup: Json, serial: SerialLine) -> Json:
    request = _request(server, backup)
    stage.quote(f"POST {service.url}/v1/demo/restores\n\n{request}")
    serial.begin()
    server.runs = server.boots  # from here on the service may start it
    with stage.step("both disks are restored", waiting=False) as step:
        accepted = service.post_text("/restores", request)["restore"]
        found = _watch(stage, service, accepted)
        why = found["resources_reason"] or found["fail_code"]
        prove(found["status"] == "success", f"the restore is {found['status']}: {why}")
        stats = found["stats"]
        took = datetime.fromisoformat(found["finished_at"]) - datetime.fromisoformat(found["created_at"])
        rate = stats["total"] / disks.MIB / took.total_seconds()
        step.say(f"320 MiB at {rate:,.0f} MiB/s, every byte proven")
    return found


def _request(server: Server, backup: Json) -> str:
    """The published request, as its publisher writes it; this text is what is sent."""
    mappings = ",\n".join(
        f'          {{"backup_id": "{each["id"]}",\n           "volume_id": "{each["source_volume_id"]}"}}'
        for each in backup["extend_info"]["volume_backups"]
    )
    return f"""{{
  "restore": {{
    "provider_id": "{PROVIDER}",
    "checkpoint_id": "{backup["checkpoint_id"]}",
    "parameters": {{
      "checkpoint_item_id": "{backup["id"]}",
      "power_on": {"true" if server.boots else "false"},
      "targets": {{
        "server_id": "{server.id}",
        "volumes": [
{mappings}
        ]
      }}
    }}
  }}
}}"""


def _watch(stage: Stage, service: Service, accepted: Json) -> Json:
    found = accepted
    bar = Progress(
        TextColumn("   "), BarColumn(30), TextColumn("{task.percentage:>3.0f} %"), DownloadColumn(binary_units=True),
        TextColumn("[dim]{task.fields[rate]}"), console=stage.console,
    )  # fmt: skip
    with bar:
        task = bar.add_task("restore", total=accepted["stats"]["total"], rate="")
        for found in service.follow(f"/restores/{accepted['id']}", "restore", "in_progress"):
            stats = found["stats"]
            rate = f"{stats['bytes_per_second'] / disks.MIB:,.0f} MiB/s"
            bar.update(task, completed=stats["total"] * found["progress"] // 100, rate=rate)
    return found


def _boots_again(stage: Stage, server: Server, service: Service, serial: SerialLine, first: Report) -> None:
    with stage.step("web-1 boots again") as step:
        shown = service.get("/servers/web-1")["server"]
        prove(shown["status"] == "running", f"web-1 is {shown['status']} after a restore with power_on")
        report = serial.report(_BOOT)
        expected = Report(first.marker, first.boots + 1, first.checksum)
        prove(report == expected, f"web-1 reports {report}, not {expected}")
        step.say(f"“{report.marker}”, boot {report.boots}, {report.checksum}")
    with stage.step("web-1 is stopped") as step:
        _stop(server, service)
        step.say("to look at its disks")


# ------------------------------------------------------------------ the proof


def _prove(stage: Stage, folder: Path, server: Server, kept: dict[Path, Path]) -> None:
    with stage.step("the data disk is equal") as step:
        disks.prove_equal(server.data, kept[server.data])
        step.say(f"all {server.data.stat().st_size:,} bytes")
    with stage.step("the system disk is equal") as step:
        size = server.system.stat().st_size
        if server.boots:
            before, after = disks.prove_equal_but_counter(server.system, kept[server.system])
            step.say(f"{size:,} bytes; boot counter {before} → {after}")
        else:
            disks.prove_equal(server.system, kept[server.system])
            step.say(f"all {size:,} bytes")
    if server.files:
        with stage.step("the file system is clean") as step:
            prove(disks.is_clean(server.data), "e2fsck finds errors in the restored file system")
            step.say("e2fsck -fn")
        with stage.step("every file is right") as step:
            found = disks.sums_in(server.data, folder / "found")
            wrong = sorted(name for name in server.files if found.get(name) != server.files[name])
            prove(not wrong, f"{len(wrong)} of {len(server.files)} files differ, first {wrong[:1]}")
            step.say(f"{len(server.files)} files, by SHA-256")


def _numbers(stage: Stage, backup: Json, restore: Json) -> None:
    about, stats = backup["extend_info"], restore["stats"]
    stage.chapter("The numbers")
    stage.fact("backup", f"{about['size']} MiB stored for 320 MiB of disks, {about['space_saving_ratio']} % saved")
    sum_of = stats["kept"] + stats["written"] + stats["zeroed"]
    prove(sum_of == stats["total"], f"kept, written and zeroed are {sum_of:,} bytes, the disks {stats['total']:,}")
    numbers = {
        "right already": (stats["kept"], ""), "written": (stats["written"], ""), "zeroed": (stats["zeroed"], ""),
        "together": (stats["total"], ", the size of both disks"), "proven": (stats["verified"], ""),
        "fetched": (stats["fetched"], " from the repository"),
        "kept for undoing": (stats["saved"], " of what was overwritten"),
    }  # fmt: skip
    for name, (count, about_it) in numbers.items():
        stage.fact(name, f"{count:>13,} bytes{about_it}")
