"""Who starts and stops a server: nobody, or a command that the operator names.  (`qemu` is the third way.)"""

import os
import signal
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from restead.domain.errors import Code, InvalidRequest, Unavailable
from restead.drivers.disks.environment import clean_environment
from restead.drivers.images.definition import ServerDefinition

_LAST = 2000  # characters of its complaints that are kept


class PowerSwitch(Protocol):
    """The power of one kind of server."""

    def is_running(self, definition: ServerDefinition) -> bool:
        """Tell whether the server runs now.  Raises Unavailable if that cannot be found out."""
        ...

    def start(self, definition: ServerDefinition) -> None:
        """Return when the server runs; starting a running server succeeds.  Raises Unavailable."""
        ...

    def stop(self, definition: ServerDefinition, grace: timedelta) -> None:
        """Return when the server is stopped; stopping a stopped server succeeds.  Raises Unavailable."""
        ...


class NoSwitch:
    """A server whose power is nobody's: it counts as stopped, whatever a hypervisor we do not know does with it.

    If it is a QEMU that takes image locks, its disks do not open while it runs.
    """

    def is_running(self, definition: ServerDefinition) -> bool:  # noqa: ARG002
        return False

    def start(self, definition: ServerDefinition) -> None:
        raise InvalidRequest(f"server {definition.id} has power none: nobody can start it",
                             code=Code.SERVER_KIND_NOT_RESTORABLE)

    def stop(self, definition: ServerDefinition, grace: timedelta) -> None:  # noqa: ARG002
        return


class CommandSwitch:
    """Calls `COMMAND start|stop|status SERVER_ID`.

    `status` prints `running` or `stopped`.  `start` and `stop` return when it is done; they are asked whatever the
    status is, so both must succeed where there is nothing to do.  `stop` finds the seconds it may ask politely in
    RESTEAD_GRACE_SECONDS.  Exit status 0 is success; what it says on standard error goes to the log.
    """

    def __init__(self, status_limit: float = 10.0, start_limit: float = 120.0, stop_extra: float = 60.0) -> None:
        """Set how many seconds `status` and `start` may take, and `stop` beyond the time of grace."""
        self._status_limit = status_limit
        self._start_limit = start_limit
        self._stop_extra = stop_extra

    def is_running(self, definition: ServerDefinition) -> bool:
        said = _call(definition, "status", self._status_limit).strip()
        if said not in ("running", "stopped"):
            raise Unavailable(f"power command of server {definition.id}: status printed {said[:40]!r}, "
                              "not running or stopped")
        return said == "running"

    def start(self, definition: ServerDefinition) -> None:
        _call(definition, "start", self._start_limit)
        if not self.is_running(definition):
            raise Unavailable(f"server {definition.id} is stopped after its power command was called with start")

    def stop(self, definition: ServerDefinition, grace: timedelta) -> None:
        _call(definition, "stop", grace.total_seconds() + self._stop_extra, grace)
        if self.is_running(definition):
            raise Unavailable(f"server {definition.id} is running after its power command was called with stop")


def _call(definition: ServerDefinition, verb: str, limit: float, grace: timedelta = timedelta()) -> str:
    command = [str(definition.power_command), verb, definition.id]
    environment = clean_environment() | {"RESTEAD_GRACE_SECONDS": str(int(grace.total_seconds()))}
    what = f"power command of server {definition.id}: {verb}"
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   cwd="/", env=environment, start_new_session=True)
    except OSError as error:
        raise Unavailable(f"{what} cannot be called: {error.strerror}", detail=str(Path(command[0]))) from error
    with process:
        try:
            out, complaints = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: this ends what it started as well
            raise Unavailable(f"{what} did not end within {limit:g} s") from error
    if process.returncode != 0:
        raise Unavailable(f"{what} ended with status {process.returncode}",
                          detail=complaints.decode(errors="replace")[-_LAST:])
    return out.decode(errors="replace")
