"""Power by QEMU: a process for each server that we start, find again, and stop.

The process belongs to nobody but itself: its own session, its pidfile and logs in the data folder, so it survives the
service, killed or not, and the next one finds it.  Only its socket is in the runtime folder, whose path is short.
"""

import hashlib
import os
import signal
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path

from restead.domain.errors import InvalidRequest, Unavailable
from restead.drivers.disks.backing import backing_of
from restead.drivers.disks.environment import clean_environment
from restead.drivers.disks.gateway import MAX_SOCKET_PATH
from restead.drivers.images.accel import Accelerator
from restead.drivers.images.commandline import Places, command_line
from restead.drivers.images.definition import ServerDefinition
from restead.drivers.images.process import Running, find
from restead.drivers.images.qmp import NoAnswer, converse, require_library
from restead.drivers.images.registry import Registry

_ANSWER_LIMIT = 5.0  # seconds for one conversation
_LAST_WORD_LIMIT = 1.0  # seconds for the one in which QEMU is told to quit
_START_LIMIT = 20.0  # seconds from the process to its first answer; 0.1 s is usual
_AGAIN = timedelta(seconds=1)  # then 2, 4, …: a guest that was still booting did not notice the power button
_QUIT_LIMIT = timedelta(seconds=5)
_KILL_LIMIT = timedelta(seconds=10)
_MAX_LOG = 1 << 20  # bytes; a serial log larger than this is put aside when the server starts
_LAST = 2000  # characters of QEMU's complaints that are kept
_ALIVE = ("running", "shutdown")  # the second: it did what it had to and is powering off


class QemuSwitch:
    """The power of servers that are QEMU processes of ours."""

    def __init__(self, runtime: Path, registry: Registry, accelerator: Accelerator) -> None:
        self._runtime = runtime
        self._registry = registry
        self._accelerator = accelerator

    def places(self, definition: ServerDefinition) -> Places:
        """Return where the things of this server's QEMU are."""
        stem = self._registry.stem(definition.id)
        socket = self._runtime / hashlib.blake2b(os.fsencode(stem), digest_size=8).hexdigest()
        return Places(
            pidfile=stem.with_suffix(".pid"), serial=stem.with_suffix(".serial.log"),
            errors=stem.with_suffix(".errors.log"), socket=socket.with_suffix(".qmp"),
            agent=socket.with_suffix(".qga"), exports=socket.with_suffix(".nbd"), live=stem.with_suffix(".live"),
        )  # fmt: skip

    def is_running(self, definition: ServerDefinition) -> bool:
        with find(self.places(definition).pidfile) as process:
            return process is not None

    # ------------------------------------------------------------------ start

    def start(self, definition: ServerDefinition) -> None:
        """Return when QEMU says that the server runs.

        Raises:
            Unavailable: QEMU is missing, or ended (its complaints in *detail*), or says something else.
        """
        places = self.places(definition)
        program = self._prepare(places)
        with self._registry.held(definition.id), find(places.pidfile) as process:
            if process is not None:
                self._resume(definition, places)
                return
            devices = frozenset(disk.path for disk in definition.disks if backing_of(disk.path).is_device)
            command = command_line(program, self._accelerator.accel(), definition, devices, places)
            launched = _launch(command, places)
            try:
                self._await_answer(definition, places, launched)
                self._resume(definition, places, launched)
            except Unavailable:
                launched.kill()
                raise
            finally:
                # Whoever started a process must take its exit status, or it stays as a zombie.
                threading.Thread(target=launched.wait, daemon=True).start()

    def _prepare(self, places: Places) -> str:
        require_library()
        try:
            self._runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"runtime folder {self._runtime} cannot be made: {error.strerror}") from error
        if (length := len(os.fsencode(places.socket))) > MAX_SOCKET_PATH:
            raise InvalidRequest(f"runtime folder {self._runtime} makes socket paths of {length} bytes, "
                                 f"at most {MAX_SOCKET_PATH} are possible: choose a shorter one")
        return self._accelerator.program()

    def _await_answer(self, definition: ServerDefinition, places: Places, launched: "subprocess.Popen[bytes]") -> None:
        until, reason = time.monotonic() + _START_LIMIT, "its pidfile"
        while launched.poll() is None:
            try:
                if places.pidfile.exists():
                    self._say(definition, places, "query-status")
                    return
            except NoAnswer as error:  # its socket has a name a little before it listens
                reason = f"an answer: {error}"
            if time.monotonic() > until:
                raise Unavailable(f"server {definition.id} did not start: QEMU did not give within {_START_LIMIT:g} s "
                                  f"{reason}", detail=_complaints(places))
            time.sleep(0.005)
        raise Unavailable(f"server {definition.id} did not start: QEMU ended with status {launched.returncode}",
                          detail=_complaints(places))

    def _resume(
        self, definition: ServerDefinition, places: Places, launched: "subprocess.Popen[bytes] | None" = None
    ) -> None:
        """Let the guest run, whether it is new, was found paused, or runs already."""
        try:
            status = self._say(definition, places, "cont", "query-status")
        except NoAnswer as error:
            ended = _exit_status(launched) if launched is not None else None
            if ended == 0:
                return  # it ran, was done, and powered itself off
            reason = str(error) if ended is None else f"QEMU ended with status {ended}"
            raise Unavailable(f"server {definition.id} did not start: {reason}", detail=_complaints(places)) from error
        state = status.get("status") if isinstance(status, dict) else status
        if state not in _ALIVE:
            raise Unavailable(f"server {definition.id} did not start: QEMU says {state}", detail=_complaints(places))

    # ------------------------------------------------------------------ stop

    def stop(self, definition: ServerDefinition, grace: timedelta) -> None:
        """Return when the process is gone: the power button first, after *grace* `quit`, then SIGKILL.

        Raises:
            Unavailable: it is still there.
        """
        places = self.places(definition)
        with self._registry.held(definition.id), find(places.pidfile) as process:
            if process is None:
                return
            if self._ended_politely(definition, places, process, grace):
                return
            heard = self._try(definition, places, _LAST_WORD_LIMIT, "quit") is not None
            if process.ended_within(_QUIT_LIMIT if heard else _AGAIN):
                return
            process.send(signal.SIGKILL)
            if not process.ended_within(_KILL_LIMIT):
                raise Unavailable(f"server {definition.id} is still running: process {process.pid} did not end within "
                                  f"{_KILL_LIMIT.total_seconds():g} s of SIGKILL")

    def _ended_politely(
        self, definition: ServerDefinition, places: Places, process: Running, grace: timedelta
    ) -> bool:
        until, pause = time.monotonic() + grace.total_seconds(), _AGAIN
        while (left := until - time.monotonic()) > 0:
            status = self._try(definition, places, min(left, _ANSWER_LIMIT), "query-status")
            if isinstance(status, dict) and status.get("status") == "prelaunch":
                return False  # it has not run yet: nothing in it could be lost
            # A paused guest does not notice its button.
            left = max(0.01, until - time.monotonic())
            self._try(definition, places, min(left, _ANSWER_LIMIT), "cont", "system_powerdown")
            if process.ended_within(min(pause, timedelta(seconds=until - time.monotonic()))):
                return True
            pause *= 2
        return False

    def _try(self, definition: ServerDefinition, places: Places, limit: float, *commands: str) -> object:
        try:
            return self._say(definition, places, *commands, limit=limit)
        except NoAnswer:  # it is gone already, or talks to somebody else: what comes next does not need its answer
            return None

    def _say(
        self, definition: ServerDefinition, places: Places, *commands: str, limit: float = _ANSWER_LIMIT
    ) -> object:
        return converse(places.socket, definition.id, commands, limit)[-1]


def _launch(command: list[str], places: Places) -> "subprocess.Popen[bytes]":
    for left_over in (places.pidfile, places.socket, places.agent, places.exports):
        left_over.unlink(missing_ok=True)  # of a process that was killed
    if places.serial.exists() and places.serial.stat().st_size > _MAX_LOG:
        places.serial.replace(places.serial.with_suffix(".1"))
    errors = os.open(places.errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd="/",
                                env=clean_environment(), umask=0o077, start_new_session=True)
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be started: {error.strerror}") from error
    finally:
        os.close(errors)


def _exit_status(launched: "subprocess.Popen[bytes]") -> int | None:
    try:
        return launched.wait(_START_LIMIT)  # its socket closes before it has brought its disks to rest
    except subprocess.TimeoutExpired:
        return None


def _complaints(places: Places) -> str:
    try:
        return places.errors.read_text(errors="replace")[-_LAST:].strip()
    except OSError:
        return ""
