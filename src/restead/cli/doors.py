"""What the command line needs from the house, as protocols; `app` implements them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from restead.domain.audit import AuditEntry
from restead.domain.backup import Backup
from restead.domain.collected import Collected
from restead.domain.copied import Copied
from restead.domain.exported import Exported
from restead.domain.ids import ServerId
from restead.domain.key import Erased, Erasure, Key
from restead.domain.quota import Quota
from restead.domain.server import Server
from restead.domain.stock import Settled, StoredDisk, Succession
from restead.domain.token import Token
from restead.domain.verification import Depth, Finding, Verification

if TYPE_CHECKING:
    from restead.settings import Settings


@dataclass(frozen=True, slots=True)
class NewServer:
    """A server as the command line describes it; the driver checks every member."""

    name: str
    project: str
    disks: Sequence[str]  # each the text of a --disk
    id: str = ""
    power: str = "none"
    power_command: Path | None = None
    memory: int = 0  # MiB
    cpus: int = 0
    zone: str = ""
    arch: str = "x86_64"
    addresses: Sequence[str] = ()
    tags: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class NewImport:
    """Disk images that shall be a backup."""

    server: str  # name or id; or the name of one that the import alone tells of
    project: str
    format: str  # of every file
    files: Sequence[Path]  # the system disk first, or as the server's disks are
    name: str = ""
    description: str = ""


class Keys(Protocol):
    """What opens the repository."""

    def export_recovery(self) -> str:
        """Make a recovery key and return it; it is stored nowhere."""
        ...

    def confirm_recovery(self, text: str) -> None:
        """Note that the recovery key is kept elsewhere.  Raises InvalidRequest if *text* is not that key."""
        ...

    def recover(self, text: str) -> Path:
        """Make a new key file that opens the repository, with the recovery key; return where it is."""
        ...

    def keys(self) -> list[Key]:
        """Return all ways to open the repository, oldest first."""
        ...

    def unfinished(self) -> int:
        """Return how many old versions of the keyring are there that should have been deleted."""
        ...

    def add_passphrase(self, text: str, label: str) -> Key:
        """Let this passphrase open the repository, too."""
        ...

    def add_key_file(self, path: Path, label: str) -> Key:
        """Make a key file that opens the repository, too.  Raises InvalidRequest if something stands there."""
        ...

    def key(self, id: str) -> Key:
        """Return the one key whose id begins so.  Raises NotFound; InvalidRequest if there are several."""
        ...

    def remove(self, key: Key) -> int:
        """Let that key open the repository no more; return how many old versions of the keyring went with it.

        Raises:
            InvalidRequest: it is the last one, or the one that this data folder uses.
        """
        ...

    def uses_passphrase(self) -> bool:
        """Tell whether this data folder opens the repository with a passphrase, and not with its key file."""
        ...

    def change_passphrase(self, text: str) -> str:
        """Put this passphrase in the place of the one that this folder uses; return what the operator must know."""
        ...

    def change_key_file(self) -> str:
        """Put a new key file in the place of the folder's own; return what the operator must know."""
        ...

    def rotate(self) -> None:
        """Seal what is stored from now on with new keys."""
        ...

    def erasure(self, project: str) -> Erasure:
        """Return what erasing that project would destroy.  Raises NotFound; InvalidRequest: a backup is held."""
        ...

    def erase(self, project: str) -> Erased:
        """Destroy the keys of a project and all that they open.  Raises Unavailable while a service runs."""
        ...

    def finish(self) -> int:
        """Finish erasures and removals that were cut short; return how many old versions were deleted."""
        ...


@dataclass(frozen=True, slots=True)
class Copying:
    """Where backups are to be copied to, what opens that, and which: without any, all."""

    address: str
    key_file: Path | None = None
    passphrase_file: Path | None = None  # with neither it is what opens the first repository
    project: str | None = None
    backups: Sequence[str] = ()  # names or ids


@dataclass(frozen=True, slots=True)
class Exporting:
    """Which backup is to become image files, and where."""

    backup: str  # name or id
    format: str
    out: Path  # the file; with several disks, or if it is a folder, the folder for the files
    disks: Sequence[str] = ()  # names or ids; without any, all
    project: str | None = None
    readback: bool = False


class Stored(Protocol):
    """The repository, whatever the lists say.  Everything raises NotFound if there is none."""

    def disks(self) -> Iterator[StoredDisk]:
        """Yield the disk backups in the repository, oldest first."""
        ...

    def take_over(self, *, older: bool) -> Succession | None:
        """Take over tokens and servers from the copy in the repository, None if there is none; before `settle`.

        *older*: the repository may be older than what was seen of it before.  Raises Unavailable while a service runs.
        """
        ...

    def settle(self) -> Iterator[Settled]:
        """Bring lists and repository together, and yield what was done."""
        ...

    def digest(self) -> tuple[int, bytes]:
        """Return number and digest of the newest entry of the log."""
        ...

    def collect(self, *, dry: bool, garbage: float, small: int) -> Collected:
        """Remove what no backup needs; *dry*: only find it.  Raises Damaged: something is lost, nothing was removed."""
        ...

    def copy(self, wanted: Copying, told: Callable[[int, int], None]) -> Iterator[Copied]:
        """Copy backups into another repository, made if it is missing; yield each.  *told*: bytes done, and of all."""
        ...

    def export(self, wanted: Exporting, told: Callable[[int, int, int | None], None]) -> list[Exported]:
        """Write disks of a backup into new image files.  *told*: percent, bytes per second and seconds left.

        Raises:
            InvalidRequest: something is in the place of a file, or the backup has no such disk; nothing was changed.
            Damaged, Unavailable: as they say; no file was made.
        """
        ...

    def recreate(self, backup: str, project: str | None, say: Callable[[str], None]) -> ServerId:
        """Define the lost domain that a backup is of, and return its id.  *say*: what people should know.

        Raises:
            InvalidRequest: it is there, or is none of libvirt's, or a disk of it cannot be made; nothing was done.
        """
        ...

    def writer(self) -> str | None:
        """Say which data folder alone writes to the repository; None if any number may, or nobody has written."""
        ...

    def claim(self) -> None:
        """Be the data folder that alone writes, where there can be one only."""
        ...

    def verify(self, depth: Depth, rate: int, restart: bool, told: Callable[[int, int], None]) -> Verification:
        """Look at all that is stored, at most *rate* bytes per second if that is not 0; what is found is kept."""
        ...

    def verified(self) -> Verification | None:
        """Return the last verification that came to its end, None if there is none."""
        ...


class Database(Protocol):
    """The records, as a database."""

    def upgrade(self) -> tuple[str | None, str]:
        """Return what shape they had, None if there were none, and have now.

        Raises Unavailable while a service runs.
        """
        ...

    def check(self) -> Iterator[str]:
        """Yield what is wrong with them, for people."""
        ...

    def copy(self, address: str, told: Callable[[str, int], None]) -> None:
        """Copy all of them into a database that has none, proven; they are nobody's then.

        *told*: a table whose copy was proven, and its rows.  Raises Unavailable while a service runs.
        """
        ...

    def owner(self) -> str | None:
        """Say whose they are, None if nobody said so."""
        ...

    def claim(self) -> None:
        """Let them be this data folder's.  Raises Unavailable while a service runs."""
        ...


@dataclass(frozen=True, slots=True)
class RecoverySecret:
    """What opens the repository of a lost service; with neither it is the passphrase of the settings."""

    key_file: Path | None = None
    recovery_key: str = field(default="", repr=False)


class Recovery(Protocol):
    """A service being rebuilt on a new data folder."""

    def take_over(self) -> Succession | None:
        """As `Stored.take_over`."""
        ...

    def settle(self) -> Iterator[Settled]:
        """As `Stored.settle`."""
        ...

    def done(self) -> None:
        """Say that all of it was done: the folder is a service's from now on."""
        ...


@dataclass(frozen=True, slots=True)
class ProjectQuotas:
    """What a project may keep and keeps; *own*: it has limits of its own."""

    project: str
    own: bool
    quotas: Sequence[Quota]  # capacity, then number


class House(Protocol):
    """An opened data folder, whether or not a service runs on it."""

    def noting(self, action: str, subject: str) -> AbstractContextManager[None]:
        """Let the audit trail tell that somebody at this machine asked for this, and what came of the block."""
        ...

    def audit(self, after: int) -> Iterator[AuditEntry]:
        """Yield the audit trail's entries behind that number, oldest first."""
        ...

    def check_audit(self, known: tuple[int, str] | None) -> tuple[int, str]:
        """Follow the audit trail; return number and digest of its end.

        Raises:
            Damaged: it is not as it was written, or does not hold the *known* entry.
        """
        ...

    def quotas(self) -> Sequence[ProjectQuotas]:
        """Return what the projects may keep that keep something, or have limits of their own."""
        ...

    def set_quota(self, project: str, number: int | None, capacity: int | None) -> None:
        """Set how many backups and GB a project may keep; None: as all."""
        ...

    def create_token(self, project: str, role: str, lasts: timedelta | None) -> str:
        """Return a new token, which is shown this once and stored hashed.  Raises InvalidRequest: no such role."""
        ...

    def tokens(self) -> list[Token]: ...

    def revoke_token(self, id: str) -> Token: ...

    def add_server(self, new: NewServer) -> Server: ...

    def servers(self, project: str | None) -> list[Server]: ...

    def server(self, name_or_id: str, project: str | None) -> Server:
        """Return the one server of that id or name.  Raises NotFound; InvalidRequest if several are so called."""
        ...

    def start_server(self, server: Server) -> None: ...

    def stop_server(self, server: Server, grace: timedelta) -> None: ...

    def remove_server(self, server: Server) -> None:
        """Forget the server; its disks stay as they are."""
        ...

    def import_images(
        self, new: NewImport, told: Callable[[int, int, int | None], None], say: Callable[[str], None]
    ) -> Backup:
        """Back images up.

        *told*: called with percent, bytes per second and seconds left.  *say*: with what people should know.

        Raises:
            InvalidRequest: something in it cannot be, or a quota is used up; nothing was stored.
            Unavailable: an image is in use, or was changed while it was read: no backup was made.
        """
        ...

    @property
    def keys(self) -> Keys: ...

    @property
    def stored(self) -> Stored: ...

    @property
    def database(self) -> Database: ...


class Doors(Protocol):
    """What only the composition root can do."""

    def recovery(
        self, settings: "Settings", address: str, secret: RecoverySecret, at_least: tuple[int, bytes] | None
    ) -> AbstractContextManager[Recovery]:
        """Open a new data folder on the repository at *address*, whose log must show at least that entry.

        Raises:
            InvalidRequest: the folder is no new one, the secret opens nothing, or the repository is older.
            NotFound: there is no repository.
            Damaged: it is.
        """
        ...

    def serve(self, settings: "Settings") -> None:
        """Run the service until it is told to end."""
        ...

    def scrub(
        self, settings: "Settings", address: str, rate: int, restart: bool, told: Callable[[int, int], None]
    ) -> Iterator[Finding]:
        """Hash every object of the repository at *address*, without a key, and yield what is damaged."""
        ...

    def house(self, settings: "Settings", *, make: bool) -> AbstractContextManager[House]:
        """Open the data folder; if it is missing, *make* it.  Raises NotFound if it is and shall not be made."""
        ...
