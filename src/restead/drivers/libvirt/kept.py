"""What of a domain is kept beside its disks: its XML, its UEFI variables, the state of its TPM."""

import base64
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restead.domain.errors import Damaged, InvalidRequest, Unavailable
from restead.drivers.libvirt.machine import Machine
from restead.drivers.libvirt.options import LibvirtOptions

DRIVER, _SCHEMA = "libvirt", 1
_MOST = 16 << 20  # bytes of one file: UEFI variables are at most some MiB, the state of a TPM some KiB


@dataclass(frozen=True, slots=True)
class StateFile:
    """A small file that belongs to a machine."""

    data: bytes = field(repr=False)
    mode: int
    owner: tuple[int, int]  # user, group


@dataclass(frozen=True, slots=True)
class Kept:
    """A domain, as a backup keeps it."""

    xml: str
    nvram: StateFile | None
    tpm: Mapping[str, StateFile]  # by path inside the folder that libvirt keeps for the domain
    left_out: tuple[str, ...]  # what there was, and why it is not here


def describe(machine: Machine, xml: str, options: LibvirtOptions) -> dict[str, object]:
    """Return the domain as JSON; what cannot be read of its state is named in it."""
    nvram, tpm, left_out = None, dict[str, object](), list[str]()
    if machine.has_nvram:
        try:
            nvram = _plain(nvram_file(machine, options))
        except OSError as error:
            left_out.append(f"UEFI variables: {_words(error)}")
    if machine.has_tpm:
        try:
            tpm = {name: _plain(path) for name, path in _state_files(tpm_folder(machine, options)).items()}
        except OSError as error:
            left_out.append(f"state of the TPM: {_words(error)}")
    return {"driver": DRIVER, "schema": _SCHEMA, "xml": xml, "nvram": nvram, "tpm": tpm, "left_out": left_out}


def read_kept(plain: Mapping[str, Any]) -> Kept:
    """Read what `describe` returned.

    Raises:
        InvalidRequest: it is another driver's.  Unavailable: a newer restead wrote it.  Damaged: it cannot be read.
    """
    if plain.get("driver") != DRIVER or "xml" not in plain:
        raise InvalidRequest(f"the backup keeps a server of driver {plain.get('driver')!r}, not a domain of libvirt's")
    if plain.get("schema") != _SCHEMA:
        raise Unavailable(f"the domain in the backup has schema {plain.get('schema')!r}, this restead reads {_SCHEMA}")
    try:
        nvram = None if plain["nvram"] is None else _state(plain["nvram"])
        tpm = {str(name): _state(each) for name, each in plain["tpm"].items()}
        return Kept(str(plain["xml"]), nvram, tpm, tuple(map(str, plain["left_out"])))
    except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise Damaged("the domain in the backup cannot be read", detail=f"{type(error).__name__}: {error}") from error


def write_state(path: Path, state: StateFile) -> None:
    """Make the file, durably, with what it held and whose it was.  Raises OSError; FileExistsError if it is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(state.data)
        file.flush()
        if os.geteuid() == 0:
            os.fchown(fd, *state.owner)
        os.fchmod(fd, state.mode)
        os.fsync(fd)


def nvram_file(machine: Machine, options: LibvirtOptions) -> Path:
    """Return what holds the domain's UEFI variables.  Raises OSError: nobody can know."""
    if options.host:
        raise OSError(f"they are on {options.host}")
    # Where libvirt chooses the firmware it puts them here, and tells it in the XML of what runs alone (libvirt 9.0).
    return Path(machine.nvram) if machine.nvram else _kept_by_libvirt(options, "qemu/nvram") / f"{machine.name}_VARS.fd"


def tpm_folder(machine: Machine, options: LibvirtOptions) -> Path:
    """Return where libvirt keeps the state of the domain's TPM.  Raises OSError: nobody can know."""
    if options.host:
        raise OSError(f"it is on {options.host}")
    return _kept_by_libvirt(options, "swtpm") / machine.uuid


def _kept_by_libvirt(options: LibvirtOptions, what: str) -> Path:
    """Return the folder of *what* (qemu/nvram, swtpm), as libvirt is built everywhere."""
    place, _, more = options.uri.partition("?")
    kind = place.partition(":")[2].lstrip("/")
    if kind == "embed":
        root = dict(part.partition("=")[::2] for part in more.split("&")).get("root", "")
        return Path(root) / "lib" / what
    if kind == "session":
        config = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
        return Path(config) / "libvirt" / "qemu" / Path(what).name
    return Path("/var/lib/libvirt") / what


def _words(error: OSError) -> str:
    """Say what is wrong, and with which file."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def _state_files(folder: Path) -> dict[str, Path]:
    every = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    files = {str(path.relative_to(folder)): path for path in every if path.name != ".lock"}
    if not files:
        raise OSError(f"there is none in {folder}")
    return files


def _plain(path: Path) -> dict[str, object]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise OSError(f"{path} holds more than {_MOST} bytes")
    packed = base64.b64encode(zlib.compress(data)).decode()
    return {"data": packed, "mode": status.st_mode & 0o777, "owner": [status.st_uid, status.st_gid]}


def _state(plain: Mapping[str, Any]) -> StateFile:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(plain["data"], validate=True), _MOST)
    if not unpacker.eof:
        raise ValueError(f"a file is cut short or larger than {_MOST} bytes")
    user, group = plain["owner"]
    return StateFile(data, int(plain["mode"]) & 0o777, (int(user), int(group)))
