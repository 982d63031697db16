"""The tools that are compared, each with the best settings that were found for it here.

All of them encrypt and authenticate.  Each works in a repository of its own, and every step is one command.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from benchmarks.disks import DISK
from benchmarks.measure import Command
from benchmarks.service import ServiceRepository

_ROOT = Path(__file__).parent.parent


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


class ResteadRepository(Still):
    """restead's own repository, through the doors that its service uses."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "repository"
        self._folder = folder
        _prepare(self._command("create"))

    def _command(self, *arguments: str | Path) -> Command:
        return Command([sys.executable, "-m", "benchmarks.restead_step", self._folder, *arguments], _ROOT)

    def backup(self, day: Path) -> Command:
        return self._command("backup", day / DISK)

    def restore(self, day: Path, target: Path) -> Command:  # noqa: ARG002
        return self._command("restore", target / DISK)

    def verify(self) -> Command:
        return self._command("verify")

    def open(self) -> Command:
        return self._command("open")


class ResticRepository(Still):
    def __init__(self, folder: Path) -> None:
        self.place = folder / "repository"
        self._folder = folder
        self._environment = {
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": str(self.place),
            "RESTIC_CACHE_DIR": str(folder / "cache"),
        }
        _prepare(self._command(folder, "init"))

    def _command(self, cwd: Path, *arguments: str | Path, flush: Path | None = None) -> Command:
        return Command(["restic", "--quiet", *arguments], cwd, self._environment, flush)

    def backup(self, day: Path) -> Command:
        return self._command(day, "backup", DISK)

    def restore(self, day: Path, target: Path) -> Command:
        return self._command(day, "restore", "latest", "--target", target, flush=target / DISK)

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
        _prepare(self._command(folder, "init", "--encryption", "repokey"))

    def _command(self, cwd: Path, *arguments: str | Path, flush: Path | None = None) -> Command:
        return Command(["borg", *arguments], cwd, self._environment, flush)

    def backup(self, day: Path) -> Command:
        settings = ["--chunker-params", f"fixed,{self._chunk}", "--compression", "zstd,1"]
        return self._command(day, "create", *settings, f"::{day.name}", DISK)

    def restore(self, day: Path, target: Path) -> Command:
        return self._command(target, "extract", "--sparse", f"::{day.name}", flush=target / DISK)

    def verify(self) -> Command:
        return self._command(self._folder, "check", "--verify-data")

    def open(self) -> Command:
        return self._command(self._folder, "info")


class Copies(Still):
    """A tool that only copies."""

    place = None

    def __init__(self, argv: Callable[[Path, Path], Sequence[str | Path]]) -> None:
        self._argv = argv

    def backup(self, day: Path) -> None:  # noqa: ARG002
        return None

    def restore(self, day: Path, target: Path) -> Command:
        return Command(self._argv(day / DISK, target / DISK), target, flush=target / DISK)

    def verify(self) -> None:
        return None

    def open(self) -> None:
        return None


def _copy(source: Path, target: Path) -> list[str | Path]:
    return ["cp", "--sparse=always", source, target]


def _direct_copy(source: Path, target: Path) -> list[str | Path]:
    return ["dd", f"if={source}", f"of={target}", "bs=4M", "oflag=direct", "status=none"]


def _prepare(command: Command) -> None:
    made = subprocess.run(command.argv, cwd=command.cwd, env={**os.environ, **command.env}, capture_output=True)
    if made.returncode:
        raise RuntimeError(f"{' '.join(map(str, command.argv))}: {made.stderr.decode(errors='replace')[-2000:]}")


def _version(program: str, *arguments: str) -> str:
    """Return the second word of what the program says about itself, "" if it is not installed."""
    if shutil.which(program) is None:
        return ""
    said = subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout
    return said.split("\n", maxsplit=1)[0].split()[-1] if program in ("cp", "dd") else said.split()[1]


def all_tools() -> list[Tool]:
    """Return restead and its peers, installed or not."""
    ours = version("restead")
    restic, borg = _version("restic", "version"), _version("borg", "--version")
    copy, direct = _version("cp", "--version"), _version("dd", "--version")
    return [
        Tool("restead", ours, "256 KiB chunks, zstd 1, AES-256-GCM, key file", ResteadRepository),
        Tool("restead serve", ours, "the same, asked through the API of a running service", ServiceRepository),
        Tool("restic", restic, "its defaults: zstd, AES-256-CTR with Poly1305, password", ResticRepository),
        Tool("borg 1M", borg, "fixed chunks of 1 MiB, zstd 1, repokey", lambda at: BorgRepository(at, 1 << 20)),
        Tool("borg 256K", borg, "fixed chunks of 256 KiB, zstd 1, repokey", lambda at: BorgRepository(at, 256 << 10)),
        Tool("cp", copy, "cp --sparse=always, then fsync", lambda _: Copies(_copy)),
        Tool("dd", direct, "dd bs=4M oflag=direct, then fsync", lambda _: Copies(_direct_copy)),
    ]
