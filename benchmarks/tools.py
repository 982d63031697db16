"""The tools that are compared, each with the best settings that were found for it here.

All of them encrypt and authenticate.  Each works in a repository of its own, and every step is one command.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from benchmarks.disks import DISK
from benchmarks.measure import Command
from benchmarks.service import ServiceRepository
from benchmarks.steps import WAYS, Step, Way

_ROOT = Path(__file__).parent.parent
_CONVERT = ["qemu-img", "convert", "-f", "raw", "-O", "raw", "-t", "none", "-W", "-m", "8"]

PLAIN = WAYS[Step.OVER]  # what every tool does that is told to restore onto a file: peers know no other way
Argv = Callable[[Path, Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One column of the table."""

    name: str
    version: str  # "" if it is not installed
    remark: str  # its settings
    at: Callable[[Path], "Repository"]  # an empty repository of it in that folder, which exists


class Repository(Protocol):
    """Commands on a tool's repository; a tool without one only restores, by copying."""

    @property
    def place(self) -> Path | None:
        """The folder in which everything is that must be kept."""
        ...

    def close(self) -> None:
        """Leave nothing running."""
        ...

    def backup(self, day: Path) -> Command | None:
        """Save the disk in folder *day*."""
        ...

    def restore(self, day: Path, target: Path) -> Command:
        """Write the disk of *day*, the newest backup, to a new file in folder *target*, on stable storage."""
        ...

    def restore_over(self, day: Path, target: Path, way: Way, changed: Path) -> Command | None:
        """As `restore`, onto a file that is as long and holds something; None if the tool has no such way.

        *changed* is what is told as a hint: JSON, (offset, length) of where the file differs from the disk of *day*.
        """
        ...

    def read(self, target: Path) -> Command | None:
        """Read all of the file in *target*, from its disk."""
        ...

    def verify(self) -> Command | None:
        """Read and authenticate everything that is stored, one backup so far."""
        ...

    def open(self) -> Command | None:
        """Open the repository: what every other step begins with, the start of the program included."""
        ...


class Still:
    """A tool of which nothing runs between two steps."""

    def close(self) -> None:
        """There is nothing to end."""

    def read(self, target: Path) -> Command | None:  # noqa: ARG002
        return None


class ResteadRepository(Still):
    """restead's own repository, through the doors that its service uses; elsewhere, if the settings say so."""

    place: Path | None

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.place = None if settings else folder / "repository"
        self._folder = folder
        self._settings = settings or {}
        prepare(self._command("create"))

    def _command(self, *arguments: str | Path) -> Command:
        step = [sys.executable, "-m", "benchmarks.restead_step", self._folder, *arguments]
        return Command(step, _ROOT, self._settings)

    def backup(self, day: Path) -> Command:
        return self._command("backup", day / DISK)

    def restore(self, day: Path, target: Path) -> Command:  # noqa: ARG002
        return self._command("restore", target / DISK)

    def restore_over(self, day: Path, target: Path, way: Way, changed: Path) -> Command:  # noqa: ARG002
        hint = [changed] if way.hint else []
        return self._command("over", target / DISK, "safety" if way.safety else "bare", *hint)

    def verify(self) -> Command:
        return self._command("verify")

    def open(self) -> Command:
        return self._command("open")


class ResticRepository(Still):
    """*address*: where it is, else in the folder.  *options*: of the command, for such a place."""

    place: Path | None

    def __init__(self, folder: Path, address: str = "", options: Sequence[str] = ()) -> None:
        self.place = None if address else folder / "repository"
        self._folder = folder
        self._options = options
        self._environment = {
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": address or str(self.place),
            "RESTIC_CACHE_DIR": str(folder / "cache"),
        }
        prepare(self._command(folder, "init"))

    def _command(self, cwd: Path, *arguments: str | Path, flush: Path | None = None) -> Command:
        return Command(["restic", "--quiet", *self._options, *arguments], cwd, self._environment, flush)

    def backup(self, day: Path) -> Command:
        return self._command(day, "backup", DISK)

    def restore(self, day: Path, target: Path) -> Command:
        return self._command(day, "restore", "latest", "--target", target, flush=target / DISK)

    def restore_over(self, day: Path, target: Path, way: Way, changed: Path) -> Command | None:  # noqa: ARG002
        return self.restore(day, target) if way == PLAIN else None

    def verify(self) -> Command:
        return self._command(self._folder, "check", "--read-data")

    def open(self) -> Command:
        return self._command(self._folder, "cat", "config")


class BorgRepository(Still):
    def __init__(self, folder: Path, chunk: int) -> None:
        self.place = folder / "repository"
        self._folder = folder
        self._chunk = chunk  # bytes
        self._environment = {
            "BORG_PASSPHRASE": "benchmark",
            "BORG_REPO": str(self.place),
            "BORG_BASE_DIR": str(folder / "home"),
        }
        prepare(self._command(folder, "init", "--encryption", "repokey"))

    def _command(self, cwd: Path, *arguments: str | Path, flush: Path | None = None) -> Command:
        return Command(["borg", *arguments], cwd, self._environment, flush)

    def backup(self, day: Path) -> Command:
        settings = ["--chunker-params", f"fixed,{self._chunk}", "--compression", "zstd,1"]
        return self._command(day, "create", *settings, f"::{day.name}", DISK)

    def restore(self, day: Path, target: Path) -> Command:
        return self._command(target, "extract", "--sparse", f"::{day.name}", flush=target / DISK)

    def restore_over(self, day: Path, target: Path, way: Way, changed: Path) -> Command | None:  # noqa: ARG002
        return self.restore(day, target) if way == PLAIN else None

    def verify(self) -> Command:
        return self._command(self._folder, "check", "--verify-data")

    def open(self) -> Command:
        return self._command(self._folder, "info")


class Copies(Still):
    """A tool that only copies.  *over*: onto a file that is there, if that is another command; *read*: reads one."""

    place = None

    def __init__(
        self, copy: Argv, over: Argv | None = None, read: Callable[[Path], Sequence[str]] | None = None
    ) -> None:
        self._copy = copy
        self._over = over or copy
        self._read = read

    def backup(self, day: Path) -> None:  # noqa: ARG002
        return None

    def restore(self, day: Path, target: Path) -> Command:
        return Command(self._copy(day / DISK, target / DISK), target, flush=target / DISK)

    def restore_over(self, day: Path, target: Path, way: Way, changed: Path) -> Command | None:  # noqa: ARG002
        return Command(self._over(day / DISK, target / DISK), target, flush=target / DISK) if way == PLAIN else None

    def read(self, target: Path) -> Command | None:
        return Command(self._read(target / DISK), target) if self._read else None

    def verify(self) -> None:
        return None

    def open(self) -> None:
        return None


def _copy(source: Path, target: Path) -> list[str]:
    return ["cp", "--sparse=always", str(source), str(target)]


def _direct_copy(source: Path, target: Path) -> list[str]:
    return ["dd", f"if={source}", f"of={target}", "bs=4M", "oflag=direct", "conv=notrunc", "status=none"]


def _direct_read(target: Path) -> list[str]:
    return ["dd", f"if={target}", "of=/dev/null", "bs=4M", "iflag=direct", "status=none"]


def _convert(source: Path, target: Path) -> list[str]:
    return [*_CONVERT, str(source), str(target)]


def _convert_over(source: Path, target: Path) -> list[str]:
    return [*_CONVERT, "-n", str(source), str(target)]


def prepare(command: Command) -> None:
    made = subprocess.run(command.argv, cwd=command.cwd, env={**os.environ, **command.env}, capture_output=True)
    if made.returncode:
        raise RuntimeError(f"{' '.join(map(str, command.argv))}: {made.stderr.decode(errors='replace')[-2000:]}")


def version_of(program: str, *arguments: str) -> str:
    """Return the second word of what the program says about itself, "" if it is not installed."""
    if shutil.which(program) is None:
        return ""
    said = subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout
    words = said.split("\n", maxsplit=1)[0].split()
    return words[{"cp": -1, "dd": -1, "qemu-img": 2}.get(program, 1)]


def all_tools() -> list[Tool]:
    """Return restead and its peers, installed or not."""
    ours = version("restead")
    restic, borg = version_of("restic", "version"), version_of("borg", "--version")
    copy, direct, convert = (version_of(program, "--version") for program in ("cp", "dd", "qemu-img"))
    return [
        Tool("restead", ours, "256 KiB chunks, zstd 1, AES-256-GCM, key file", ResteadRepository),
        Tool("restead serve", ours, "the same, asked through the API of a running service", ServiceRepository),
        Tool("restic", restic, "its defaults: zstd, AES-256-CTR with Poly1305, password", ResticRepository),
        Tool("borg 1M", borg, "fixed chunks of 1 MiB, zstd 1, repokey", lambda at: BorgRepository(at, 1 << 20)),
        Tool("borg 256K", borg, "fixed chunks of 256 KiB, zstd 1, repokey", lambda at: BorgRepository(at, 256 << 10)),
        Tool("cp", copy, "cp --sparse=always, then fsync", lambda _: Copies(_copy)),
        Tool("dd", direct, "dd bs=4M oflag=direct, then fsync", lambda _: Copies(_direct_copy, read=_direct_read)),
        Tool("qemu-img", convert, "convert -t none -W -m 8, then fsync", lambda _: Copies(_convert, _convert_over)),
    ]
