"""What opens a repository: a passphrase, a key file, or the recovery key that is printed once.

Their contents never reach a log or a message: `repr` and `str` of each are "***".
"""

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from restead.domain.errors import InvalidRequest, Unavailable

SECRET_SIZE = 32
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # base32, RFC 4648
_WEIGHTS = (1, 3, 5, 7)  # odd: so any one wrong letter of a group changes its check letter
_GROUPS = 13  # of four letters and their check letter; 52 letters hold 256 bits and four zeroes
_SUM = b"restead 1 recovery key sum"


@dataclass(frozen=True, slots=True, repr=False)
class Passphrase:
    """Words that somebody remembers."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise InvalidRequest("the passphrase is empty")

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True, repr=False)
class KeyFile:
    """The 32 random bytes of a file that only its owner can read."""

    secret: bytes

    def __repr__(self) -> str:
        return "***"

    @classmethod
    def create(cls, path: Path, secret: bytes | None = None) -> "KeyFile":
        """Make a new key file, durably, of random bytes if *secret* is not given; the folder must exist.

        Raises:
            InvalidRequest: something stands there already: a key is never overwritten.
            Unavailable: the folder is missing, full or not ours.
        """
        secret = secret or os.urandom(SECRET_SIZE)
        # Complete before it has its name: a power cut must not leave an empty key file that nothing replaces.
        draft = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
        try:
            _write(draft, secret)
            os.link(draft, path)
        except FileExistsError:
            raise InvalidRequest(f"key file {path} exists already") from None
        except OSError as error:
            raise Unavailable(f"key file {path} cannot be made: {error.strerror}", detail=str(error)) from error
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return cls(secret)

    @classmethod
    def read(cls, path: Path) -> "KeyFile":
        """Read a key file.

        Raises:
            InvalidRequest: it is missing, others than its owner may read it, or it does not hold 32 bytes.
        """
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                secret = file.read(SECRET_SIZE + 1)
        except OSError as error:
            raise InvalidRequest(f"key file {path} cannot be read: {error.strerror}", detail=str(error)) from error
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise InvalidRequest(f"key file {path} has mode {mode:04o}: only its owner may read it (0600)")
        if len(secret) != SECRET_SIZE:
            raise InvalidRequest(f"key file {path} holds {found.st_size} bytes, expected {SECRET_SIZE}")
        return cls(secret)


@dataclass(frozen=True, slots=True, repr=False)
class RecoveryKey:
    """256 random bits, kept on paper or elsewhere, that open the repository when all else is lost."""

    secret: bytes

    def __repr__(self) -> str:
        return "***"

    @classmethod
    def generate(cls) -> "RecoveryKey":
        return cls(os.urandom(SECRET_SIZE))

    def printed(self) -> str:
        """Return the key for people: 14 groups of five letters, of which the last checks the whole."""
        letters = base64.b32encode(self.secret).decode().rstrip("=")
        groups = [letters[at : at + 4] for at in range(0, len(letters), 4)]
        return "-".join([*(group + _check_letter(at, group) for at, group in enumerate(groups)), _sum(self.secret)])

    @classmethod
    def parse(cls, text: str) -> "RecoveryKey":
        """Read a printed key, in any case, with or without dashes and spaces.

        Raises:
            InvalidRequest: it was not copied rightly; the message names the wrong group where it can.
        """
        letters = "".join(text.upper().replace("-", " ").split())
        groups = [letters[at : at + 5] for at in range(0, len(letters), 5)]
        for at, group in enumerate(groups[:_GROUPS]):
            _check_group(at, group)
        if len(letters) != 5 * (_GROUPS + 1):
            raise InvalidRequest(f"the recovery key has {len(letters)} letters, expected {5 * (_GROUPS + 1)}")
        secret = _bytes_of("".join(group[:4] for group in groups[:_GROUPS]))
        if _sum(secret) != groups[_GROUPS]:
            raise InvalidRequest(f"the recovery key does not fit its last group {groups[_GROUPS]}: look at all groups")
        return cls(secret)


Secret = Passphrase | KeyFile | RecoveryKey


def _check_group(at: int, group: str) -> None:
    for letter in group:
        if letter not in _ALPHABET:
            raise InvalidRequest(f"group {at + 1} of the recovery key, {group}: {letter} is never used in it")
    if len(group) == 5 and _check_letter(at, group[:4]) != group[4]:
        raise InvalidRequest(f"group {at + 1} of the recovery key, {group}, is mistyped")


def _check_letter(at: int, group: str) -> str:
    total = 9 * at + sum(weight * _ALPHABET.index(letter) for weight, letter in zip(_WEIGHTS, group, strict=True))
    return _ALPHABET[total % 32]


def _sum(secret: bytes) -> str:
    return base64.b32encode(blake3(_SUM + secret).digest())[:5].decode()


def _bytes_of(letters: str) -> bytes:
    return base64.b32decode(letters + "====")


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
