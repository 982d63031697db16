"""The Linux guest as a domain of libvirt's, with its agent's channel.

    domain = LinuxDomain(house, folder, "hello")    # house.define and the disks of linuxguest.py
    domain.ready()
    domain.run("labreport")                         # a line of shell, over the serial line; -> what it prints
    domain.agent("guest-fsfreeze-status")           # through libvirt
"""

import json
import socket
import time
from pathlib import Path
from typing import Any

from tests.lab.linuxguest import Report, await_report

MEMORY = 192  # MiB
_LIMIT = 120  # seconds for anything the guest does
_NO_FLAGS = 0


class LinuxDomain:
    """A running domain; *line*: the socket of its serial line, *serial*: the file of what it wrote there."""

    def __init__(self, domain: Any, line: Path, serial: Path) -> None:
        self._domain = domain
        self._line = line
        self._serial = serial

    def ready(self) -> Report:
        """Return when the guest does what it is told, and libvirt has its agent."""
        report = await_report(self._serial, lambda text: "LAB-READY" in text)
        _wait(self.has_agent)
        return report

    def report(self) -> Report:
        """Ask for a report now."""
        report = Report.last_of(self.run("labreport"))
        assert report is not None
        return report

    def run(self, command: str) -> str:
        """Run one line of shell in the guest, which need not succeed; return what it prints."""
        end, start = f"E{time.monotonic_ns()}", len(self._text())
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._line))
            sock.sendall(f"{command}; echo {end[:1]}''{end[1:]}\n".encode())
            sock.settimeout(0.05)
            until = time.monotonic() + _LIMIT
            while end not in self._text()[start:]:
                assert time.monotonic() < until, self._text()[-300:]
                try:
                    sock.recv(65536)
                except TimeoutError:
                    pass
        return self._text()[start:].replace("\r", "").partition(end)[0].partition("\n")[2]

    def has_agent(self) -> bool:
        """Whether libvirt has the agent's answer to a ping."""
        import libvirt

        try:
            return self.agent("guest-ping") == {}
        except libvirt.libvirtError:
            return False

    def agent(self, command: str) -> Any:
        """Let the agent do something, through libvirt; return its answer."""
        import libvirt_qemu

        said = libvirt_qemu.qemuAgentCommand(self._domain, json.dumps({"execute": command}), 5, _NO_FLAGS)
        return json.loads(said)["return"]

    def _text(self) -> str:
        return self._serial.read_text(errors="replace")


def _wait(condition: Any) -> None:
    until = time.monotonic() + _LIMIT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)
