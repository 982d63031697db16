"""Domains for libvirt: their XML, and a QEMU driver of libvirt's without any daemon (`qemu:///embed`)."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

_DOMAIN = """<domain type='{kind}'><name>{name}</name><uuid>{uuid}</uuid>
<metadata><restead:server xmlns:restead='urn:restead:domain:1' project='{project}'/></metadata>
<memory unit='MiB'>{memory}</memory><vcpu>1</vcpu><os{firmware}><type arch='x86_64'{machine}>hvm</type>{os}</os>
<features><acpi/></features><on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot>
<on_crash>destroy</on_crash><devices>{disks}{devices}</devices></domain>"""
_DEVICES = "<emulator>/usr/bin/qemu-system-x86_64</emulator><memballoon model='none'/>"
_SERIAL = "<serial type='file'><source path='{serial}'/><target port='0'/></serial>"
# A serial line that can be written to as well; what comes is in a file all the same.  And the agent's channel.
_TALKING = """<serial type='unix'><source mode='bind' path='{line}'/><log file='{serial}' append='on'/>
<target port='0'/></serial>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"""
_CONF = """user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
swtpm_user = "root"
swtpm_group = "root"
"""


def domain_xml(
    id: str, name: str, project: str, disks: Sequence[Path], serial: Path, *, real: bool = True, os: str = "",
    more: str = "", format: str = "raw", memory: int = 16,
    line: Path | None = None, firmware: str = "",
) -> str:
    """Return the XML of a domain with these disks.

    *real*: for QEMU.  *format*: of block devices; that of files their suffix tells.  *memory*: MiB.  *firmware*: for
    libvirt to choose one of that kind.
    *line*: socket of the serial line, for a guest that is talked to, which gets an agent's channel as well.
    """
    talking = _TALKING.format(line=line, serial=serial) if line else _SERIAL.format(serial=serial)
    return _DOMAIN.format(
        kind="qemu" if real else "test", name=escape(name), uuid=id, project=project, os=os, memory=memory,
        firmware=f" firmware='{firmware}'" if firmware else "",
        machine=" machine='pc'" if real else "",
        devices=_DEVICES + talking + more if real else more,
        disks="".join(_disk(path, number, format) for number, path in enumerate(disks)),
    )  # fmt: skip


def _disk(path: Path, number: int, format: str) -> str:
    kind, where = ("block", "dev") if path.is_block_device() else ("file", "file")
    if kind == "file":
        format = "qcow2" if path.suffix == ".qcow2" else "raw"
    return (f"<disk type='{kind}' device='disk'><driver name='qemu' type='{format}' discard='unmap'/>"
            f"<source {where}='{path}'/><target dev='vd{chr(97 + number)}' bus='virtio'/>"
            f"<boot order='{number + 1}'/></disk>")  # fmt: skip


def embed_root() -> Path:
    """Make a root for libvirt's QEMU driver in a process: one for each process, there can be no second."""
    root = Path(tempfile.mkdtemp(prefix="rsl-", dir="/tmp"))
    write_conf(root / "etc")
    return root


def write_conf(folder: Path) -> None:
    """Write what lets libvirt run machines as root, without control groups and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "qemu.conf").write_text(_CONF)


def in_own_process(uri: str, deed: str, limit: float = 120) -> str:
    """Run *deed*, Python that has `connection` and `libvirt`, in a process of its own; return what it printed."""
    code = f"""
import os, sys, threading, libvirt
libvirt.virEventRegisterDefaultImpl()
libvirt.virEventAddTimeout(1000, lambda *_: None, None)
def turn():
    while True: libvirt.virEventRunDefaultImpl()
threading.Thread(target=turn, daemon=True).start()
connection = libvirt.open({uri!r})
{deed}
connection.close()
sys.stdout.flush()
os._exit(0)  # the thread turns on in libvirt while an interpreter ends, and may crash it then
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=limit)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


def qemu_of(id: str) -> int:
    """Return the process of the running domain of that UUID.  Raises ProcessLookupError: there is none."""
    asked = id.encode()
    found = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if asked in _words(path)[1:]]
    if len(found) != 1:
        raise ProcessLookupError(f"{len(found)} processes run domain {id}")
    return int(found[0].name)


def _words(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


STOP_ALL = """
for each in connection.listAllDomains():
    try:
        each.destroy()
    except libvirt.libvirtError:  # it does not run
        pass
"""
_DAEMON = """listen_tls = 0
listen_tcp = {tcp:d}
listen_addr = "127.0.0.1"
tcp_port = "{port}"
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
"""


def _listens(path: Path) -> bool:
    """Tell whether somebody does: between the making of a socket and that lies a moment."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@contextmanager
def libvirtd() -> Iterator[str]:
    """Run a libvirtd of our own; give the URI of its machines."""
    folder = Path(tempfile.mkdtemp(prefix="rsd-", dir="/tmp"))
    try:
        with libvirtd_in(folder) as uri:
            yield uri
    finally:
        shutil.rmtree(folder)


@contextmanager
def libvirtd_in(folder: Path, port: int = 0) -> Iterator[str]:
    """Run a libvirtd (`libvirtd` beside this file) on that folder, whose path is short; one after the other may.

    *port*: of TCP, on loopback, where it listens too.
    """
    write_conf(folder / "etc")
    (folder / "etc" / "libvirtd.conf").write_text(_DAEMON.format(tcp=bool(port), port=port))
    sock, words = folder / "run" / "libvirt-sock", folder / "words"
    sock.unlink(missing_ok=True)
    with words.open("wb") as out:
        command = [str(Path(__file__).with_name("libvirtd")), str(folder), *(["--listen"] if port else [])]
        daemon = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 120
        while not _listens(sock):
            assert daemon.poll() is None, words.read_text()
            assert time.monotonic() < until, words.read_text()
            time.sleep(0.05)
        yield f"qemu+unix:///system?socket={sock}"
    finally:
        daemon.terminate()
        daemon.wait(120)
