"""Where repositories are: a folder on this machine, or a bucket of an S3 service."""

import os
import re
import secrets
import socket
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from restead.domain.errors import InvalidRequest
from restead.drivers.blobs import LocalBlobs, OneWriter, Writer
from restead.ports import BlobStore
from restead.repository import Window
from restead.settings import Settings

_PORTION = 2 << 20  # bytes of a disk that one thread compares and rewrites at once: what a backup stores in a row
_SEALS = 32 << 10  # bytes: a portion that does not compress is longer by its seals, and one request all the same
_UNMARKED = 48 << 20  # bytes that a crash of a restore in place lets be written again, at least
_BUCKET = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,254})((?:/[A-Za-z0-9._-]+)*)/?")


def open_store(address: str, settings: Settings) -> BlobStore:
    """Return the store at *address*: a folder, as path or `file:` URL, made if it is missing, or `s3://BUCKET/PREFIX`.

    Raises:
        InvalidRequest: it is no such address, or what it needs is not installed or set.
        Unavailable: the folder cannot be made.
    """
    folder = folder_of(address)
    if folder is not None:
        return LocalBlobs(folder)
    store, place = _bucket(address, settings)
    return OneWriter(store, place, this_folder(settings.data), settings.data / "writer.lock")


def open_to_look(address: str, settings: Settings) -> BlobStore:
    """Return the store at *address* for one who only reads: nothing is made there, nor in a data folder.

    Raises:
        InvalidRequest: as `open_store`.
    """
    folder = folder_of(address)
    return LocalBlobs(folder, reads_only=True) if folder is not None else _bucket(address, settings)[0]


def _bucket(address: str, settings: Settings) -> tuple[BlobStore, str]:
    """Return the store, and its address as it is told to people."""
    found = _BUCKET.fullmatch(address)
    if found is None or ".." in address:
        raise InvalidRequest(f"{address} is no place for a repository: take a folder, or s3://BUCKET/PREFIX")
    from restead.drivers.blobs.s3 import S3Blobs
    from restead.drivers.blobs.s3_service import S3Service

    service = S3Service(
        bucket=found[1], prefix=(found[2] or "").strip("/"), endpoint=settings.s3_endpoint, region=settings.s3_region,
        profile=settings.s3_profile, ca=settings.s3_ca, allow_http=settings.s3_allow_http,
        timeout=settings.s3_timeout, retries=settings.s3_retries, checksums=settings.s3_checksums,
        lock=timedelta(days=settings.s3_lock_days), lock_mode=settings.s3_lock_mode,
    )  # fmt: skip
    return S3Blobs(service), service.address


def folder_of(address: str) -> Path | None:
    """Return the folder that an address means, None if it is none."""
    if address.startswith("file:"):
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise InvalidRequest(f"{address} is no folder of this machine")
        return Path(unquote(parts.path))
    return None if "://" in address else Path(os.path.abspath(Path(address).expanduser()))  # noqa: PTH100


def window_for(address: str, settings: Settings) -> Window:
    """Return how much is done at once: many small portions where every request takes long, few large ones on a disk."""
    if folder_of(address) is not None:
        return Window(settings.backup_threads, settings.restore_threads)
    threads = max(settings.s3_requests, settings.restore_threads)
    portion = min(settings.s3_request_size, _PORTION)
    unmarked = max(_UNMARKED, threads * portion * 3 // 2)  # else each thread would wait for the flush of the others
    return Window(
        settings.backup_threads, threads, portion=portion, span=portion + _SEALS, whole=settings.s3_request_size,
        ahead=settings.s3_requests, unmarked=unmarked,
    )  # fmt: skip


def this_folder(data: Path) -> Writer:
    """Return this data folder as a writer; its id is made once."""
    path = data / "writer"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(16))
            file.flush()
            os.fsync(file.fileno())
    return Writer(path.read_text().strip(), socket.gethostname(), str(data))
