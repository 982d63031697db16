"""Objects in a bucket of any S3 service: `packs/3f…` is the key `<prefix>/packs/3f…`.

Only create-only put, get, range, list and delete are asked of it.  Everything that obstore raises is translated here:
nothing of a request but its status and the service's own code and message goes into an error.

Reads are retried by obstore.  Puts are retried here, because a put whose reply was lost may have happened: each carries
a mark of its own, so that one which finds its name taken on a later try can tell whether it was itself.
"""

import mmap
import os
import random
import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.drivers.blobs.names import LEGAL, checked
from restead.drivers.blobs.s3_lock import Locks
from restead.drivers.blobs.s3_service import S3Service
from restead.ports import Buffer

if TYPE_CHECKING:
    import obstore

_MARK = "restead-put"  # user metadata of an object: which put made it
_LOCKED = "packs/"  # what is locked if that is asked for: all else is replaced, or goes when packs go
_NO_SUCH_RANGE = 416
_CONFLICT = 409  # another put of the name is under way: it may be taken, or come free again
_PAGE = 1000  # names of a listing that one request asks for: what S3 gives at most
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between tries
_STATUS = re.compile(r"status code: (\d{3})[^:<\n]*")
_CODE = re.compile(r"<Code>([A-Za-z0-9._-]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")


class S3Blobs:
    """A BlobStore in a bucket.  Raises InvalidRequest if obstore is missing or the service cannot be used so."""

    def __init__(self, service: S3Service) -> None:
        self._obstore = _obstore()
        self._service = service
        self._prefix = service.prefix + "/" if service.prefix else ""
        with self._translated("its settings"):
            self._reading, self._writing = service.connections()
        self._locks = Locks(service, self._obstore)

    def __repr__(self) -> str:
        return f"S3Blobs({self._service.address})"

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        checked(name)
        return self._create(name, _whole(data))

    def put_file(self, name: str, fd: int) -> bool:
        checked(name)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"what shall become {name} is no regular file")
        if not found.st_size:
            return self._create(name, b"")
        # Mapped, not read: a pack costs page cache, which the kernel can take back, and no memory of ours.
        with mmap.mmap(fd, found.st_size, access=mmap.ACCESS_READ) as whole:
            body = memoryview(whole)
            try:
                return self._create(name, body)
            finally:
                _let_go(body)

    def get(self, name: str) -> bytes:
        with self._found(name):
            found: bytes = self._obstore.get(self._reading, self._key(name)).bytes().to_bytes()
        return found

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self._range(name, offset, length).to_bytes() if length else self._nothing(name, offset)

    def get_range_into(self, name: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = memoryview(self._range(name, offset, len(buffer))) if buffer else self._nothing(name, offset)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        folder = self._prefix + prefix.rpartition("/")[0]
        with self._translated(f"the list of {prefix or 'everything'}"):
            for page in self._obstore.list(self._reading, folder or None, chunk_size=_PAGE):
                for each in page:
                    name = each["path"].removeprefix(self._prefix)
                    if name.startswith(prefix) and LEGAL.fullmatch(name):
                        yield name, each["size"]

    def delete(self, name: str) -> None:
        with self._translated(name, "deleted"), suppress(FileNotFoundError):
            self._obstore.delete(self._reading, self._key(name))

    def locked_until(self, name: str) -> str:
        with self._translated(name):
            return self._locks.until(self._reading, self._key(name))

    # ------------------------------------------------------------------ puts

    def _create(self, name: str, body: bytes | memoryview) -> bool:
        mark = secrets.token_hex(16)
        doubt = False  # an earlier try of ours may have stored it
        for attempt in range(self._service.retries + 1):
            if attempt:
                time.sleep(_pause(attempt))
            try:
                with self._translated(name):
                    status = self._put_once(name, body, mark)
            except Unavailable as error:
                if attempt == self._service.retries or not _may_pass(error):
                    raise
                doubt = True
                continue
            if status != _CONFLICT:
                ours = status is None or (doubt and self._mark(name) == mark)
                if ours and name.startswith(_LOCKED):
                    self._require_lock(name)
                return ours
        raise Unavailable(f"{name} cannot be put into {self._service.address}: others put it all the time")

    def _put_once(self, name: str, body: bytes | memoryview, mark: str) -> int | None:
        """Return None if it was stored, else with which status the service said that the name is taken."""
        locked = self._service.lock and name.startswith(_LOCKED)
        way = self._locks.connection() if locked else self._writing
        try:
            self._obstore.put(
                way, self._key(name), body, mode="create", use_multipart=False, attributes={_MARK: mark}
            )
        except self._obstore.exceptions.AlreadyExistsError as error:
            return _status(error)
        return None

    def _require_lock(self, name: str) -> None:
        """Raises InvalidRequest if locks are asked for, and the service has made none."""
        if self._locks.proven:
            return
        if not self.locked_until(name):
            raise InvalidRequest(
                f"s3_lock_days is set, and {self._service.address} shows no lock on {name}: it may know no object "
                "lock, or the bucket was made without, or these keys may not see it (s3:GetObjectRetention)"
            )
        self._locks.proven = True

    def _mark(self, name: str) -> object:
        with self._found(name):
            attributes: Any = self._obstore.get(self._reading, self._key(name), options={"head": True}).attributes
            return attributes.get(_MARK)

    # ------------------------------------------------------------------ ranges

    def _range(self, name: str, offset: int, length: int) -> "obstore.Bytes":
        try:
            with self._found(name):
                key = self._key(name)
                found: obstore.Bytes = self._obstore.get_range(self._reading, key, start=offset, length=length)
        except Unavailable as error:
            if _status_of(error) == _NO_SUCH_RANGE:
                self._require(name, offset, length)
            raise
        if len(found) != length:
            self._require(name, offset, length)
            raise Unavailable(f"{name}: the store answered {len(found)} bytes, {length} from {offset} on were asked")
        return found

    def _nothing(self, name: str, offset: int) -> bytes:
        self._require(name, offset, 0)
        return b""

    def _require(self, name: str, offset: int, length: int) -> None:
        """Raises Damaged if the object is too short for that range."""
        with self._found(name, bare=True):
            size = self._obstore.head(self._reading, self._key(name))["size"]
        if offset + length > size:
            raise Damaged(f"{name} holds {size} bytes, {length} from {offset} on were asked")

    # ------------------------------------------------------------------ errors

    def _key(self, name: str) -> str:
        return self._prefix + checked(name)

    @contextmanager
    def _found(self, name: str, *, bare: bool = False) -> Iterator[None]:
        """As `_translated`, for an object that may not be there.  *bare*: the answer has no body to say why."""
        with self._translated(name):
            try:
                yield
            except FileNotFoundError as error:
                if not bare and _code(error) != "NoSuchKey":  # no such bucket, or whoever answered is no S3 service
                    raise
                raise NotFound(f"the store holds no {name}", detail=_said(error)) from _cleaned(error)

    @contextmanager
    def _translated(self, name: str, what: str = "reached") -> Iterator[None]:
        """Raise what obstore says about *name* as our own error: it cannot be reached, or *what* else."""
        try:
            yield
        except (self._obstore.exceptions.BaseError, FileNotFoundError, OSError) as error:
            why = f"{name} cannot be {what} in {self._service.address}: {_said(error)}"
            raise Unavailable(why) from _cleaned(error)


def _obstore() -> Any:
    try:
        import obstore.exceptions
    except ModuleNotFoundError as error:
        why = "object storage needs the package obstore, which is not installed: pip install 'restead[s3]'"
        raise InvalidRequest(why) from error
    return obstore


def _whole(data: Buffer | Sequence[Buffer]) -> bytes | memoryview:
    if not isinstance(data, Buffer):
        return b"".join(data)
    return data if isinstance(data, bytes) else memoryview(data).cast("B")


def _let_go(body: memoryview) -> None:
    """Release a view that obstore may hold for a moment longer: a request that was given up is torn down elsewhere."""
    for _ in range(1000):
        try:
            body.release()
        except BufferError:
            time.sleep(0.01)
        else:
            return


def _pause(attempt: int) -> float:
    longest: float = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)
    return random.uniform(longest / 2, longest)


def _may_pass(error: Unavailable) -> bool:
    """Tell whether the same request may go well a moment later."""
    status = _status_of(error)
    return status == 0 or status >= 500 or status == 429


def _status_of(error: Unavailable) -> int:
    cause = error.__cause__
    return (cause.errno or 0) if isinstance(cause, OSError) else 0


def _status(error: BaseException) -> int:
    """Return the HTTP status that an error of obstore tells of, 0 if there was no answer."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _cleaned(error: BaseException) -> OSError:
    """An error that says no more than `_said`, to be the cause of ours: tracebacks are logged."""
    return OSError(_status(error), _said(error))


def _code(error: BaseException) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _said(error: BaseException) -> str:
    """What an operator must know: status, code and message of the service, or what became of the connection.

    Never the whole of it: services echo keys and signatures in answers that refuse a request.
    """
    text = str(error)
    status = _STATUS.search(text)
    if status is None:
        return text.splitlines()[0].rpartition(" - ")[2][:200] if text else type(error).__name__
    message = _MESSAGE.search(text)
    parts = (status[0].removeprefix("status code: "), _code(error), message[1] if message else "")
    return ", ".join(part for part in parts if part)
