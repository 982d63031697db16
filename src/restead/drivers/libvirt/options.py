"""What an operator may choose, and whose a domain is."""

import fnmatch
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from restead.domain.errors import InvalidRequest
from restead.domain.ids import same_id

_KINDS = ("qemu", "test")  # hypervisors whose domains are understood


@dataclass(frozen=True, slots=True)
class LibvirtOptions:
    """`docs/drivers.md` says what each is for."""

    uri: str  # of the connection
    projects: Mapping[str, str] = field(default_factory=dict)  # UUID, name or pattern of names → project; first counts
    scratch: Path | None = None  # folder for what live backups keep meanwhile; QEMU must be able to write there
    direct_read: bool = False  # read disks past the page cache
    direct_write: bool = True  # write disks past the page cache
    qemu_nbd: str = "qemu-nbd"  # program that reads and writes qcow2 disks
    freeze_limit: timedelta = timedelta(seconds=10)  # that a guest's agent has to freeze; 0: it is not asked
    qemu_img: str = "qemu-img"  # program that makes images, and takes stale bitmaps out of them

    def __post_init__(self) -> None:
        """Refuse what is no connection to QEMU.  Raises InvalidRequest."""
        kind = self.uri.partition(":")[0].partition("+")[0]
        if kind not in _KINDS:
            raise InvalidRequest(f"libvirt_uri {self.uri!r} is no connection to QEMU, such as qemu:///system")

    @property
    def host(self) -> str:
        """The other machine that the connection leads to; "" if it is this one."""
        return re.sub(r":\d+$", "", urllib.parse.urlsplit(self.uri).netloc.rpartition("@")[2])

    def project_of(self, name: str, uuid: str, said: str) -> str:
        """Return whose a domain is: as the settings say, else as its metadata *said*; "" if nobody does."""
        for wanted, project in self.projects.items():
            if same_id(wanted, uuid) or fnmatch.fnmatchcase(name, wanted):
                return project
        return said
