"""Build the Linux guest from Debian packages, which are downloaded and unpacked, never installed.

    python tests/lab/linux/build.py FOLDER CACHE

Makes in FOLDER, which is new: system.raw (a FAT partition with boot loader and kernel, and an ext4 root), data.raw
(ext4) and fat.raw, the last two with files of random bytes; facts.json says what is in them, fsck.fat checks the third.
Needs apt-get, dpkg-deb and mke2fs, but neither root nor mounts.
"""

import hashlib
import json
import lzma
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_MIB = 1 << 20
_SECTOR = 512
_SYSTEM, _FAT, _DATA = 256 * _MIB, 32 * _MIB, 64 * _MIB
_PAYLOAD = 12 * _MIB
ROOT_AT = _MIB + _FAT  # byte of the system disk where its root file system begins
_APPLETS = (
    "sh mount umount cat dd sync sleep usleep echo ls sha256sum insmod poweroff fsfreeze grep sed printf date head tr "
    "kill ps mkdir rm cut wc acpid dmesg tail chmod"
)
_FOLDERS = "bin sbin dev proc sys data fat etc tmp run var/run lib/modules usr/bin usr/sbin root"
_DISK_MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
_OTHER_MODULES = ("button", "evdev", "virtio_console", "nls_cp437", "nls_ascii", "fat", "vfat")


class Packages:
    """Debian packages, unpacked in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def tree(self, name: str) -> Path:
        """Return the folder in which the package is unpacked."""
        found = self._folder / name
        if not found.exists():
            fresh = self._folder / f"{name}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            self._download(name, fresh)
            (package,) = fresh.glob("*.deb")
            _run("dpkg-deb", "-x", str(package), str(fresh / "tree"))
            (fresh / "tree").rename(found)
            shutil.rmtree(fresh)
        return found

    def kernel(self) -> str:
        """Return the name of the package of the newest small kernel."""
        told = _run("apt-cache", "depends", "--no-recommends", "linux-image-cloud-amd64")
        return next(line.split()[-1] for line in told.splitlines() if "Depends:" in line and "linux-image-" in line)

    def _download(self, name: str, folder: Path) -> None:
        words = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name]
        if subprocess.run(words, cwd=folder, capture_output=True).returncode != 0:
            subprocess.run(["apt-get", "-q", "update"], capture_output=True)  # a fresh machine has no lists yet
            _run(*words, cwd=folder)


def build(folder: Path, cache: Path) -> None:
    """Make the guest in *folder*.  Raises CalledProcessError, with what a program has said on standard error."""
    packages = Packages(cache)
    work = folder / "work"
    work.mkdir(parents=True)
    kernel = packages.tree(packages.kernel())
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    shutil.copy(image, work / "vmlinuz")
    busybox = _busybox(packages)
    _initial(work, kernel, busybox)
    root, data = _root(work, packages, kernel, busybox), work / "data"
    payload = _payload(data, 1)
    (data / "sequence").write_text("0000000000\n")
    _system_disk(folder / "system.raw", work, root, packages)
    _truncated(folder / "data.raw", _DATA)
    _ext4(folder / "data.raw", data, 0, _DATA, "labdata")
    fat = _payload(work / "fat", 2)
    _truncated(folder / "fat.raw", _DATA)
    tools = _tools(packages)
    _run("mformat", "-i", str(folder / "fat.raw"), "-T", str(_DATA // _SECTOR), "-h", "64", "-s", "32", "-v", "LABFAT",
         "::", tools=tools)  # fmt: skip
    _run("mcopy", "-i", str(folder / "fat.raw"), *map(str, sorted((work / "fat").iterdir())), "::", tools=tools)
    (checker,) = (path for path in packages.tree("dosfstools").rglob("fsck.fat") if not path.is_symlink())
    shutil.copy(checker, folder / "fsck.fat")
    (folder / "facts.json").write_text(json.dumps({"data": payload, "fat": fat, "root_at": ROOT_AT}))
    shutil.rmtree(work)


def _initial(work: Path, kernel: Path, busybox: Path) -> None:
    """Make the initial file system: busybox, what it takes to see disks, and the script."""
    files = {"bin/busybox": busybox.read_bytes(), "bin/sh": busybox.read_bytes(), "init": _script("initramfs")}
    for number, name in enumerate(_DISK_MODULES):
        if module := _module(kernel, name):
            files[f"m/{number}-{name}.ko"] = module
    plain = work / "initrd.cpio"
    plain.write_bytes(b"".join(_cpio(files, ["bin", "dev", "proc", "sys", "mnt", "m"])))
    with (work / "initrd").open("wb") as out:
        subprocess.run(["gzip", "-1", "-n", "-c", str(plain)], stdout=out, check=True)


def _root(work: Path, packages: Packages, kernel: Path, busybox: Path) -> Path:
    """Make what the root file system holds."""
    root = work / "root"
    for name in _FOLDERS.split():
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in _APPLETS.split():
        (root / "bin" / name).symlink_to("busybox")
    for script in ("init", "shutdown"):
        _executable(root / "sbin" / script, _script(script))
    for script in ("labreport", "labwriter"):
        _executable(root / "bin" / script, _script(script))
    order = []
    for name in _OTHER_MODULES:
        if module := _module(kernel, name):
            (root / f"lib/modules/{name}.ko").write_bytes(module)
            order.append(name)
    (root / "lib/modules/order").write_text("\n".join(order) + "\n")
    (root / "etc/lab-marker").write_text("as built\n")
    (root / "etc/lab-mode").write_text("idle\n")
    (root / "etc/lab-sequence").write_text("0000000000\n")
    agent = packages.tree("qemu-guest-agent") / "usr/sbin/qemu-ga"
    shutil.copy(agent, root / "usr/sbin/qemu-ga")
    for library, place in _libraries(agent):
        (root / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / place / library.name)
    return root


def _system_disk(path: Path, work: Path, root: Path, packages: Packages) -> None:
    _truncated(path, _SYSTEM)
    loader = packages.tree("syslinux-common") / "usr/lib/syslinux/mbr/mbr.bin"
    first, second = _MIB // _SECTOR, ROOT_AT // _SECTOR
    table = _partition(0x80, 0x0E, first, _FAT // _SECTOR) + _partition(0, 0x83, second, _SYSTEM // _SECTOR - second)
    with path.open("r+b") as disk:
        disk.write(loader.read_bytes()[:440].ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa")
    tools, part = _tools(packages), f"{path}@@{_MIB}"
    _run("mformat", "-i", part, "-T", str(_FAT // _SECTOR), "-h", "255", "-s", "63", "-H", str(first), "-v", "LABBOOT",
         "::", tools=tools)  # fmt: skip
    shutil.copy(_HERE / "syslinux.cfg", work / "syslinux.cfg")
    _run("mcopy", "-i", part, *(str(work / name) for name in ("vmlinuz", "initrd", "syslinux.cfg")), "::", tools=tools)
    _run("syslinux", "--offset", str(_MIB), "--install", str(path), tools=tools)
    _ext4(path, root, ROOT_AT, _SYSTEM - ROOT_AT, "labroot")


def _partition(flag: int, kind: int, start: int, sectors: int) -> bytes:
    return struct.pack("<B3sB3sII", flag, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, sectors)


def _ext4(path: Path, content: Path, offset: int, size: int, label: str) -> None:
    options = f"offset={offset},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1"
    words = ["-q", "-t", "ext4", "-F", "-L", label, "-E", options, "-d", str(content), str(path), f"{size // 1024}k"]
    _run("mke2fs", *words)


def _payload(folder: Path, seed: int) -> str:
    """Put files of random bytes into a new folder; return the digest of all of them."""
    folder.mkdir()
    digest, chance = hashlib.sha256(), random.Random(seed)
    for number in range(1, 5):
        data = chance.randbytes(_PAYLOAD // 4)
        (folder / f"payload-{number}").write_bytes(data)
        digest.update(data)
    return digest.hexdigest()


def _libraries(program: Path) -> Iterator[tuple[Path, str]]:
    """Yield the shared libraries of a program, as this machine has them, and where they go."""
    for line in _run("ldd", str(program)).splitlines():
        words = line.split()
        if "not found" in line:
            raise RuntimeError(f"{program.name} needs {words[0]}, which this machine does not have")
        path = next((word for word in words if word.startswith("/")), None)
        if path is not None:
            yield Path(path), "lib64" if path.startswith("/lib64/") else "lib/x86_64-linux-gnu"


def _cpio(files: dict[str, bytes], folders: Sequence[str]) -> Iterator[bytes]:
    """Yield an archive as the kernel unpacks it (documentation of Linux, `buffer-format`: newc)."""
    entries = [(name, 0o040755, b"") for name in folders] + [(name, 0o100755, data) for name, data in files.items()]
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        yield head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _module(kernel: Path, name: str) -> bytes:
    """Return a module of the kernel; nothing if that has it built in."""
    found = sorted((kernel / "lib/modules").rglob(f"{name}.ko*"))
    if not found:
        return b""
    data = found[0].read_bytes()
    return lzma.decompress(data) if found[0].suffix == ".xz" else data


def _busybox(packages: Packages) -> Path:
    tree = packages.tree("busybox-static")
    return next(path for path in (tree / "bin/busybox", tree / "usr/bin/busybox") if path.exists())


def _tools(packages: Packages) -> str:
    """Return the folders of the programs that were unpacked."""
    return os.pathsep.join(str(packages.tree(name) / "usr/bin") for name in ("mtools", "syslinux"))


def _script(name: str) -> bytes:
    return (_HERE / name).read_bytes()


def _executable(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o755)


def _truncated(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def _run(*words: str, cwd: Path | None = None, tools: str = "") -> str:
    path = os.pathsep.join(part for part in (tools, os.environ.get("PATH", ""), "/usr/sbin:/sbin") if part)
    environment = {**os.environ, "PATH": path, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
