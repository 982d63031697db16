"""Live backups of the images driver's QEMU servers, beside what they are worse than: `python -m benchmarks.live`.

How long the guest stands still, how much slower it writes while it is backed up, how fast its disk is read, and what
an increment reads and stores; for raw disks and for qcow2.  Every figure has its peer, taken in turn in the same run.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.disks import MIB, copy_with_holes, make_disk
from benchmarks.live_guest import LARGE, PIECE, Backup, Guest, Keeper, Spent, read_all
from benchmarks.report import machine
from restead.app.niceness import IN_VAIN, is_in_vain
from restead.drivers.images import Accel, ImagesDriver, ImagesOptions
from restead.drivers.images.accel import Accelerator
from restead.ports import PausesGuest

ALONE, BESIDE = "no backup", "a stopped server is backed up"
_NICE = 10  # the default of `backup_nice`
LIVE, NICER = "it is backed up itself, backup_nice = 0", f"it is backed up itself, backup_nice = {_NICE}"
FREE, SAVED, FIRST = "no backup is under way", "again, the place was saved", "first, QEMU saves the place"
_CHANGES = (1, 16, 256)  # pieces of 64 KiB that are changed before an increment
_WRITES = 256  # of 4 KiB, each in a piece of its own


@dataclass(slots=True)
class Figures:
    """Everything that was measured with disks of one format."""

    bare: list[float] = field(default_factory=list)  # ms for which the guest was stopped, and nothing else
    pauses: list[float] = field(default_factory=list)  # ms for which it stood still for a moment of its disks
    beside: dict[str, list[Spent]] = field(default_factory=dict)
    writes: dict[str, list[float]] = field(default_factory=dict)  # ms for one write of 4 KiB
    reads: dict[str, list[tuple[int, Spent]]] = field(default_factory=dict)  # bytes of the large disk
    increments: list[dict[str, object]] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mib", type=int, default=1024, help="of the large disk (default 1024)")
    parser.add_argument("--moments", type=int, default=50, help="of which the pause is measured (default 50)")
    parser.add_argument("--rounds", type=int, default=5, help="of everything else (default 5)")
    parser.add_argument("--formats", default="raw,qcow2", help="of the disks (default raw,qcow2)")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="for disks and repositories (/dev/shm)")
    parser.add_argument("--json", type=Path, help="write every single figure there as well")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # leave nothing behind
    about, found = machine(), {}
    with tempfile.TemporaryDirectory() as folder:  # what was found is remembered in a file that replaces the one before
        accel = Accelerator(Accel.AUTO, "qemu-system-x86_64", Path(folder) / "accel.json").accel()
    about["accel"] = accel.value
    print(_head(about, wanted), flush=True)
    for format in wanted.formats.split(","):
        with tempfile.TemporaryDirectory(prefix="restead-bench-", dir=wanted.memory) as folder:
            found[format] = _measure(Path(folder), format, accel, wanted)
        print(_section(format, found[format]), flush=True)
    if wanted.json:
        sizes = {"size_mib": wanted.size_mib, "moments": wanted.moments, "rounds": wanted.rounds}
        page = {"machine": about, **sizes, "formats": {name: asdict(each) for name, each in found.items()}}
        wanted.json.write_text(json.dumps(page, indent=1) + "\n")


def _measure(folder: Path, format: str, accel: Accel, wanted: argparse.Namespace) -> Figures:
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp") as runtime:  # a short path, for sockets
        driver = ImagesDriver(folder / "data", Path(runtime), ImagesOptions(accel=accel))
        make_disk("db", folder / "large", wanted.size_mib * MIB, 1)
        copy_with_holes(folder / "large", folder / "twin")
        guest = Guest(driver, folder / "guest", Path(runtime), format, folder / "large")
        twin = Guest(driver, folder / "stopped", Path(runtime), format, folder / "twin")
        try:
            guest.start("W")
            _pauses(figures, guest, wanted.moments)
            _slow_down(figures, guest, twin, folder, wanted.rounds)
            guest.stop()
            _first_writes(figures, guest, folder, wanted.rounds)
            guest.stop()
            _reads(figures, guest, folder, wanted.rounds)
            _increments(figures, guest, folder)
        finally:
            driver.stop(guest.definition.project, guest.definition.id, grace=timedelta())
    return figures


# ---------------------------------------------------------------------- what is measured


def _pauses(figures: Figures, guest: Guest, count: int) -> None:
    """Moments as a backup opens and closes them; nothing is read."""
    for _ in range(count):
        figures.bare.append(_ms(guest.bare_pause()))
        with guest.moment() as moment:
            assert isinstance(moment, PausesGuest)
            figures.pauses.append(_ms(moment.pause))


def _slow_down(figures: Figures, guest: Guest, twin: Guest, folder: Path, rounds: int) -> None:
    """Full backups of the guest, of a stopped server with the same large disk, and none, in turn."""
    for _ in range(rounds):
        spent = {}
        for what, server, nice in ((LIVE, guest, 0), (BESIDE, twin, 0), (NICER, guest, _NICE)):
            with _keeper(folder) as keeper:
                spent[what] = guest.during(partial(keeper.back_up, server, nice=nice))
        spent[ALONE] = guest.during(partial(time.sleep, spent[LIVE].seconds))
        for what, each in spent.items():
            figures.beside.setdefault(what, []).append(each)


def _first_writes(figures: Figures, guest: Guest, folder: Path, rounds: int) -> None:
    """What it costs that QEMU saves what a write is about to overwrite; the guest itself is idle."""
    guest.start("H")
    source, chance, pieces = _random_bytes(folder, 4096, 1), Random(1), guest.size // PIECE
    for _ in range(rounds):
        places = [at * PIECE for at in chance.sample(range(pieces), min(_WRITES, pieces))]
        taken = {FREE: guest.write(places, 4096, source)}
        with guest.moment():
            taken[FIRST] = guest.write(places, 4096, source)
            taken[SAVED] = guest.write(places, 4096, source)
        for what, seconds in taken.items():
            figures.writes.setdefault(what, []).append(seconds * 1000 / len(places))


def _reads(figures: Figures, guest: Guest, folder: Path, rounds: int) -> None:
    """Read the large disk of the idle guest, and of the stopped one, and back both up."""
    for _ in range(rounds):
        guest.start("H")
        for state in ("running", "stopped"):
            with guest.moment() as moment:
                before, own = time.monotonic(), time.process_time()
                length = read_all(moment.sources[guest.volumes[LARGE]])
                spent = Spent(time.monotonic() - before, 0, time.process_time() - own, 0)
            figures.reads.setdefault(f"only read, {state}", []).append((length, spent))
            with _keeper(folder) as keeper:
                before, own = time.monotonic(), time.process_time()
                length = keeper.back_up(guest).large.read
                spent = Spent(time.monotonic() - before, 0, time.process_time() - own, 0)
            figures.reads.setdefault(f"full backup, {state}", []).append((length, spent))
            if state == "running":
                guest.stop()


def _increments(figures: Figures, guest: Guest, folder: Path) -> None:
    """Change so many pieces, and back up by reading all; change them again, and back up by the bitmap.

    In the end the disk of the stopped server is read, and must be what the last increment says.
    """
    guest.start("H")
    pieces, chance = guest.size // PIECE, Random(2)
    with _keeper(folder) as keeper:
        _note(figures, guest, keeper, 0, believe=False)
        for count in (each for each in _CHANGES if each <= pieces // 8):
            places = [at * PIECE for at in chance.sample(range(pieces), count)]
            for believe in (False, True):
                for at in places:
                    guest.write([at], PIECE, _random_bytes(folder, PIECE, 2 * at + believe))
                _note(figures, guest, keeper, count * PIECE, believe=believe)
        last = keeper.contents(guest.volumes[LARGE])
        guest.stop()
        keeper.back_up(guest, believe=False)
        if keeper.contents(guest.volumes[LARGE]) != last:
            raise RuntimeError("the last increment does not hold what the stopped server's disk does")


def _note(figures: Figures, guest: Guest, keeper: Keeper, changed: int, *, believe: bool) -> None:
    done: list[Backup] = []
    spent = guest.during(lambda: done.append(keeper.back_up(guest, believe=believe)))
    count = done[0].large
    figures.increments.append({
        "changed": changed, "bitmap": believe, "told": done[0].told, "read": count.read, "new": count.new,
        "stored": count.stored, "seconds": spent.seconds, "cpu": spent.cpu, "qemu": spent.qemu,
    })  # fmt: skip


@contextmanager
def _keeper(folder: Path) -> Iterator[Keeper]:
    """Lend an empty repository; nothing is left of it."""
    place = folder / "keeper"
    try:
        yield Keeper(place)
    finally:
        shutil.rmtree(place)


def _random_bytes(folder: Path, length: int, seed: int) -> Path:
    path = folder / "random"
    path.write_bytes(Random(seed).randbytes(length))
    return path


def _ms(pause: timedelta) -> float:
    return pause / timedelta(milliseconds=1)


# ---------------------------------------------------------------------- what it says


def _head(about: dict[str, object], wanted: argparse.Namespace) -> str:
    return (
        f"{about['date']}, {about['cpus']} × {about['processor']}, {about['memory_mib']} MiB, Linux {about['kernel']}, "
        f"Python {about['python']}, QEMU with {about['accel']}; load before the run {about['load']}.\n"
        f"{IN_VAIN if is_in_vain() else 'Niceness counts between restead and QEMU'}.\n"
        f"Large disk {wanted.size_mib} MiB, {wanted.moments} moments, {wanted.rounds} rounds."
    )


def _section(format: str, figures: Figures) -> str:
    return "\n".join([
        "", f"#### {format}", "",
        *_pause_table(figures), "", *_slow_table(figures.beside), "", *_write_table(figures.writes), "",
        *_read_table(figures.reads), "", *_increment_table(figures.increments),
    ])  # fmt: skip


def _pause_table(figures: Figures) -> Iterator[str]:
    yield "| the guest stands still, ms | least | median | worst | |"
    yield "|---|---:|---:|---:|---:|"
    base = median(figures.bare)
    for what, each in (("stop and go on, nothing between", figures.bare), ("a moment of three disks", figures.pauses)):
        yield f"| {what} | {min(each):.2f} | {median(each):.2f} | {max(each):.2f} | {median(each) / base:.1f} × |"


def _slow_table(beside: dict[str, list[Spent]]) -> Iterator[str]:
    yield "| while | writes per second | of those with no backup | lowest, highest | s | CPU, s | QEMU's CPU, s |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    alone = [each.writes / each.seconds for each in beside[ALONE]]
    for what in (ALONE, BESIDE, LIVE, NICER):
        all_of_them = beside[what]
        rates = [each.writes / each.seconds for each in all_of_them]
        shares = [rate / base for rate, base in zip(rates, alone, strict=True)]
        numbers = (median(each.seconds for each in all_of_them), median(each.cpu for each in all_of_them),
                   median(each.qemu for each in all_of_them))  # fmt: skip
        yield (f"| {what} | {median(rates):.0f} | {median(shares):.2f} | {min(shares):.2f}, {max(shares):.2f} | "
               f"{' | '.join(f'{number:.2f}' for number in numbers)} |")  # fmt: skip


def _write_table(writes: dict[str, list[float]]) -> Iterator[str]:
    yield "| one write of 4 KiB | ms | | lowest, highest ms |"
    yield "|---|---:|---:|---:|"
    for what in (FREE, FIRST, SAVED):
        each, base = writes[what], median(writes[FREE])
        yield f"| {what} | {median(each):.3f} | {median(each) / base:.1f} × | {min(each):.3f}, {max(each):.3f} |"


def _read_table(reads: dict[str, list[tuple[int, Spent]]]) -> Iterator[str]:
    yield "| the large disk | MiB/s | of stopped | CPU of restead, s |"
    yield "|---|---:|---:|---:|"
    for what in ("only read", "full backup"):
        base = _speed(reads[f"{what}, stopped"])
        for state in ("stopped", "running"):
            each = reads[f"{what}, {state}"]
            cpu = median(spent.cpu for _, spent in each)
            yield f"| {what}, {state} | {_speed(each):.0f} | {_speed(each) / base:.2f} | {cpu:.2f} |"


def _speed(reads: Sequence[tuple[int, Spent]]) -> float:
    return median(length / MIB / spent.seconds for length, spent in reads)


def _increment_table(increments: Sequence[dict[str, object]]) -> Iterator[str]:
    yield "| changed, KiB | by | bitmap says, KiB | read, KiB | new, KiB | stored, KiB | s | CPU, s | QEMU's CPU, s |"
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    for each in increments:
        by = "bitmap" if each["bitmap"] else "reading all"
        sizes = " | ".join(_kib(each[name]) for name in ("told", "read", "new", "stored"))
        times = " | ".join(f"{each[name]:.2f}" for name in ("seconds", "cpu", "qemu"))
        yield f"| {_kib(each['changed'])} | {'full' if not each['changed'] else by} | {sizes} | {times} |"


def _kib(length: object) -> str:
    return f"{length / 1024:,.0f}" if isinstance(length, int) else "–"


if __name__ == "__main__":
    main()
