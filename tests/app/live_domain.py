"""The guest of `live.py` as a domain of libvirt's."""

import json
from pathlib import Path

from tests.app.live import Guest
from tests.app.running import PROJECT, Place
from tests.lab.domains import domain_xml, in_own_process, qemu_of

_LOOK = """
domain = connection.lookupByUUIDString({id!r})
state = domain.state()[0]
if state != libvirt.VIR_DOMAIN_RUNNING: print("state", state)
try: print("job", domain.backupGetXMLDesc())
except libvirt.libvirtError: pass
for each in domain.listAllCheckpoints(): print("checkpoint", each.getName())
"""


class DomainGuest(Guest):
    """A domain of the libvirtd at *uri*, which runs on whatever becomes of the service."""

    def __init__(self, place: Place, uri: str, name: str = "web-1", *, format: str = "raw") -> None:
        self.uri = uri
        place.environment["RESTEAD_LIBVIRT_URI"] = uri
        place.environment["RESTEAD_LIBVIRT_PROJECTS"] = json.dumps({"*": PROJECT})
        super().__init__(place, name, format=format)

    def add(self) -> None:
        xml = domain_xml(self.id, self.name, PROJECT, self.disks, self._log)
        in_own_process(self.uri, f"connection.defineXML({xml!r})")

    def serial(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def pid(self) -> int:
        return qemu_of(self.id)

    def left(self) -> list[str]:
        """Return what of a live backup is in the domain or beside it, and its state if it does not run."""
        said = [line for line in self._look() if not line.startswith("checkpoint ")]
        folders = (self.place.data / "scratch", Path(self.place.environment["RESTEAD_RUNTIME"]))
        said += [str(path) for folder in folders for path in folder.glob("*.live")]
        return said + [path.read_text() for path in folders[0].glob("*.note") if path.stat().st_size]

    def marks(self) -> list[str]:
        return [line for line in self._look() if line.startswith("checkpoint ")]

    def _look(self) -> list[str]:
        return in_own_process(self.uri, _LOOK.format(id=self.id)).splitlines()

    @property
    def _log(self) -> Path:
        return self.place.folder / f"{self.name}.serial"
