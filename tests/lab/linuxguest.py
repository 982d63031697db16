"""The Linux guest: its disks, a machine to boot them in, and what it says of itself; see README.md beside this file.

    disks = make_disks(folder, "hello")
    with LinuxGuest(disks) as guest:
        guest.ready()                     # -> Report(marker="hello", payloads={"data": …, "fat": …}, system=0, data=0)
        guest.run("cat /proc/uptime")     # -> what it prints
        guest.agent("guest-fsfreeze-freeze")
        guest.shut_down()
    check_file_systems(disks)
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.linux.build import Packages

_SOURCES = Path(__file__).parent / "linux"
_CACHE = Path(os.environ.get("RESTEAD_LAB_CACHE", Path(__file__).parents[2] / ".cache")) / "linuxguest"
_LIMIT = 120.0  # seconds for anything the guest does; emulated on a busy machine it is slow
_KEPT = 2  # builds: of older states of the sources


@dataclass(frozen=True)
class Report:
    """What a guest said about itself."""

    marker: str
    payloads: dict[str, str]  # SHA-256 of the files on each file system that it could mount
    system: int  # how far its writer has come, as the system disk says
    data: int  # and as the data disk says

    @property
    def is_true_moment(self) -> bool:
        """Whether both disks can be of one moment: the writer counts on the data disk first."""
        return self.data - self.system in (0, 1)

    @classmethod
    def last_of(cls, serial: str) -> "Report | None":
        """Read the last whole report in what a guest wrote to its serial line; None if there is none."""
        text = serial.replace("\r", "")
        whole, there, _ = text.rpartition("LAB-REPORTED")
        _, begun, last = whole.rpartition("LAB-MARKER ")
        if not there or not begun:
            return None
        counts = re.search(r"^LAB-SEQUENCE (\d+) (\d+)$", last, re.MULTILINE)
        payloads = dict(re.findall(r"^LAB-PAYLOAD (\w+) ([0-9a-f]{64})$", last, re.MULTILINE))
        system, data = (int(counts[1]), int(counts[2])) if counts else (-1, -10)  # no true moment
        return cls(last.partition("\n")[0], payloads, system, data)


def built() -> Path:
    """Return the folder with the guest's disks as they are built, building them if need be."""
    digest = hashlib.sha256()
    for path in sorted(each for each in _SOURCES.iterdir() if each.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    folder = _CACHE / digest.hexdigest()[:16]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = _CACHE / "new"
            shutil.rmtree(fresh, ignore_errors=True)
            command = [sys.executable, str(_SOURCES / "build.py"), str(fresh), str(_CACHE / "packages")]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"the Linux guest was not built: {done.stderr[-1000:]}")
            fresh.rename(folder)
            _forget_old(folder)
    return folder


def packages() -> Packages:
    """Return Debian packages, unpacked; downloaded if they are not there."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    return Packages(_CACHE / "packages")


def _forget_old(newest: Path) -> None:
    builds = sorted(_CACHE.glob("*/facts.json"), key=lambda path: path.stat().st_mtime)
    for path in builds[:-_KEPT]:
        if path.parent != newest:
            shutil.rmtree(path.parent)


def payloads() -> dict[str, str]:
    """Return what `Report.payloads` should be."""
    facts = json.loads((built() / "facts.json").read_text())
    return {name: facts[name] for name in ("data", "fat")}


def make_disks(folder: Path, marker: str, mode: str = "idle") -> list[Path]:
    """Write a guest's three disks, sparse: system, data, FAT.

    *mode*: what it does after its report: `idle`, `write` all the time, or power `off`.
    """
    source, disks = built(), [folder / f"{name}.raw" for name in ("system", "data", "fat")]
    for path in disks:
        subprocess.run(["cp", "--sparse=always", str(source / path.name), str(path)], check=True)
    put_file(disks[0], "/etc/lab-marker", f"{marker}\n")
    put_file(disks[0], "/etc/lab-mode", f"{mode}\n")
    return disks


def put_file(system: Path, place: str, text: str) -> None:
    """Write a file into the root file system of a system disk that nobody has open."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        _debugfs(system, f"rm {place}\nwrite {file.name} {place}\n")


def _debugfs(system: Path, commands: str) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(commands)
        file.flush()
        _tool("debugfs", "-w", "-f", file.name, _root_of(system))


def check_file_systems(disks: Sequence[Path]) -> None:
    """Check a stopped guest's disks, raw, the first two or all three; nothing is repaired.

    Raises AssertionError with what is wrong; FAT that was once not unmounted is called so for ever.
    """
    checks = (("e2fsck", "-fn"), ("e2fsck", "-fn"), (str(built() / "fsck.fat"), "-n"))
    places = (_root_of(disks[0]), *map(str, disks[1:]))
    for words in ((*check, place) for check, place in zip(checks, places, strict=False)):
        done = _run(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}"


def read_file(disk: Path, place: str, *, system: bool) -> str:
    """Return what a file holds, as it stands on a disk, raw, now: what is in journals alone is not seen."""
    where = _root_of(disk) if system else str(disk)
    return _tool("debugfs", "-R", f"cat {place}", where)


def journals_to_replay(disks: Sequence[Path]) -> list[str]:
    """Return which of the first two disks, raw, have a file system that was neither unmounted nor frozen."""
    places = (_root_of(disks[0]), str(disks[1]))
    return [place for place in places if "needs_recovery" in _tool("dumpe2fs", "-h", place)]


def _root_of(system: Path) -> str:
    return f"{system}?offset={json.loads((built() / 'facts.json').read_text())['root_at']}"


def _tool(*words: str) -> str:
    done = _run(*words)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}
    return subprocess.run(words, capture_output=True, text=True, env=environment)


def await_report(log: Path, wanted: Callable[[str], bool], limit: float = _LIMIT) -> Report:
    """Wait until a server's serial log is as *wanted*, and return the last report in it."""
    until = time.monotonic() + limit
    while True:
        text = log.read_text(errors="replace") if log.exists() else ""
        report = Report.last_of(text)
        if report is not None and wanted(text):
            return report
        if time.monotonic() > until:
            raise TimeoutError(f"{log} is not as wanted after {limit:g} s; its end: {text[-300:]!r}")
        time.sleep(0.05)


class LinuxGuest:
    """A QEMU that runs the guest, without restead.  It ends with the block."""

    def __init__(self, disks: Sequence[Path], *, format: str = "raw", qemu: str = "qemu-system-x86_64") -> None:
        self._folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="lab-"))
        self._agent, line = self._folder / "agent", self._folder / "line"
        self._command = [
            qemu, "-accel", "tcg", "-cpu", "max", "-m", "192", "-nodefaults", "-no-reboot", "-display", "none",
            "-boot", "reboot-timeout=200",
            "-chardev", f"socket,id=line,path={line},server=on,wait=on", "-serial", "chardev:line",
            "-device", "virtio-serial", "-chardev", f"socket,id=agent,path={self._agent},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ]  # fmt: skip
        for number, path in enumerate(disks):
            node = {"driver": format, "node-name": f"d{number}", "file": {"driver": "file", "filename": str(path)}}
            device = f"virtio-blk-pci,drive=d{number},bootindex={number}"
            self._command += ["-blockdev", json.dumps(node), "-device", device]
        self._line_path = line
        self._errors = self._folder / "errors"
        self._text = ""
        self._changed = threading.Condition()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LinuxGuest":
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=errors)
        try:
            self._line = self._connected(self._line_path)
        except BaseException:
            self.kill()
            raise
        # Somebody has to read all the time: a line that nobody empties stops the guest's console.
        threading.Thread(target=self._read, args=[self._line], daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def serial(self) -> str:
        """What the guest has written so far."""
        return self._text

    def ready(self) -> Report:
        """Wait until the guest does what it is told; return its report."""
        self.await_text("LAB-READY ")
        report = Report.last_of(self._text)
        assert report is not None, self._text[-300:]
        return report

    def report(self) -> Report:
        """Ask for a report now."""
        text = self.run("labreport")
        report = Report.last_of(text)
        assert report is not None, text[-300:]
        return report

    def run(self, command: str) -> str:
        """Run one line of shell in the guest; return what it prints.  Raises AssertionError unless it succeeds."""
        assert self._line is not None
        end, start = f"E{time.monotonic_ns()}", len(self._text)
        # What is typed is echoed: the mark is put together by the shell only.
        self._line.sendall(f"{command}; echo {end[:1]}''{end[1:]}=$?\n".encode())
        found = self.await_text(rf"{end}=(\d+)", start)
        text = self._text[start : found.start()].replace("\r", "")
        assert found[1] == "0", f"{command}: status {found[1]}: {text[-500:]}"
        return text.partition("\n")[2]

    def agent(self, command: str, **arguments: object) -> Any:
        """Let the guest's agent do something; return its answer."""
        self.await_text("LAB-AGENT on")
        with self._connected(self._agent) as sock:
            return ask_agent(sock, command, **arguments)

    def shut_down(self) -> None:
        """Let the guest end in order, and wait for it."""
        assert self._line is not None
        assert self._process is not None
        self._line.sendall(b"shutdown\n")
        assert self._process.wait(_LIMIT) == 0, self._text[-300:]
        assert "LAB-SHUTDOWN" in self._text

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._line is not None:
            self._line.close()

    def await_text(self, pattern: str, start: int = 0) -> "re.Match[str]":
        """Wait until the guest has written what *pattern* finds behind *start*; return it."""
        with self._changed:
            self._changed.wait_for(lambda: re.compile(pattern).search(self._text, start) or self._over(), _LIMIT)
            found = re.compile(pattern).search(self._text, start)
        if found is None:
            raise TimeoutError(f"{pattern!r} was not seen; the end of what was: {self._text[-300:]!r}")
        return found

    def _over(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _read(self, line: socket.socket) -> None:
        while data := _received(line):
            with self._changed:
                self._text += data.decode(errors="replace")
                self._changed.notify_all()
        if self._process is not None:
            self._process.wait()
        with self._changed:
            self._changed.notify_all()

    def _connected(self, path: Path) -> socket.socket:
        assert self._process is not None
        until = time.monotonic() + _LIMIT
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(path))
            except OSError:
                sock.close()
                if self._process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"QEMU does not answer at {path}: {self._errors.read_text()}") from None
                time.sleep(0.02)
            else:
                return sock


def ask_agent(sock: socket.socket, command: str, **arguments: object) -> Any:
    """Let the agent at the other end do something; return its answer."""
    with sock.makefile("rb") as answers:
        mark = time.monotonic_ns() & 0x7FFFFFFF
        _send(sock, "guest-sync-delimited", {"id": mark}, b"\xff")
        while _answer(answers.readline()).get("return") != mark:
            pass  # what an earlier conversation has left
        _send(sock, command, {name.replace("_", "-"): value for name, value in arguments.items()})
        answer = _answer(answers.readline())
    assert "return" in answer, f"{command}: {answer}"
    return answer["return"]


def _received(line: socket.socket) -> bytes:
    try:
        return line.recv(65536)
    except OSError:  # closed, or QEMU is gone
        return b""


def _send(sock: socket.socket, command: str, arguments: dict[str, object], before: bytes = b"") -> None:
    sock.settimeout(_LIMIT)
    sock.sendall(before + json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")


def _answer(line: bytes) -> dict[str, Any]:
    if not line:
        raise RuntimeError("the guest's agent does not answer")
    text = line.rpartition(b"\xff")[2].strip()
    found: dict[str, Any] = json.loads(text) if text else {}
    return found
