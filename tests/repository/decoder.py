"""A decoder of repositories of format 1 that knows docs/format.md and nothing of restead.

It opens a local repository with a key file, replays the log as far as manifests go, and restores disks.  It trusts
the packs' own tables of contents, and compares the index with them.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

try:
    from compression import zstd
except ImportError:
    from backports import zstd

MAGIC = b"restead\n"
PACK, CHUNK, PAGE, ROOT, CONTENTS, INDEX, LOG, KEYRING = 1, 2, 3, 4, 5, 6, 7, 9
FANOUT = 1024
ZERO = bytes(32)


def keyed(key: bytes, message: bytes) -> bytes:
    return blake3(message, key=key).digest()


def header(data: bytes, kind: int) -> tuple[int, bytes]:
    """Return sealing key number and salt."""
    magic, version, found, number, salt = struct.unpack(">8sHHI32s", data[:48])
    assert (magic, version, found) == (MAGIC, 1, kind)
    return number, salt


def object_key(sealing_key: bytes, kind: int, salt: bytes) -> bytes:
    return keyed(sealing_key, b"restead 1 object key" + struct.pack(">H", kind) + salt)


def unseal(data: bytes, kind: int, keys: dict[int, bytes], repository: bytes, name: str) -> bytes:
    assert blake3(data[:-32]).digest() == data[-32:], name
    number, salt = header(data, kind)
    bound = data[:48] + repository + name.encode()
    return AESGCM(object_key(keys[number], kind, salt)).decrypt(bytes(12), data[48:-32], bound)


class Folder:
    """The objects of a local repository: parts of a path that begin with "=" are no part of a name."""

    def __init__(self, root: Path) -> None:
        self.files = {
            "/".join(part for part in path.relative_to(root).parts if not part.startswith("=")): path
            for path in root.rglob("*")
            if path.is_file() and "=tmp" not in path.parts
        }

    def get(self, name: str) -> bytes:
        return self.files[name].read_bytes()

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(prefix))


@dataclass
class Keyring:
    repository: bytes
    chunk_size: int
    control: dict[int, bytes]
    projects: dict[str, tuple[bytes, dict[int, bytes]]]  # name key, sealing keys


def open_keyring(folder: Folder, key_file: bytes) -> Keyring:
    newest = max(folder.names("keyring/"), key=lambda name: int(name.removeprefix("keyring/")))
    data = folder.get(newest)
    assert blake3(data[:-32]).digest() == data[-32:]
    _, salt = header(data, KEYRING)
    (length,) = struct.unpack(">I", data[48:52])
    clear = json.loads(data[52 : 52 + length])
    repository = bytes.fromhex(clear["repository"])
    (wrapping,) = [one for one in clear["wrappings"] if one["kind"] == "key file"]
    key = keyed(key_file, b"restead 1 wrapping key" + bytes.fromhex(wrapping["salt"]))
    bound = b"restead 1 wrapping" + repository + bytes.fromhex(wrapping["id"]) + wrapping["kind"].encode()
    secret = AESGCM(key).decrypt(bytes(12), bytes.fromhex(wrapping["wrapped"]), bound)
    cipher = AESGCM(object_key(secret, KEYRING, salt))
    bound = data[: 52 + length] + repository + newest.encode()
    body = json.loads(cipher.decrypt(bytes(12), data[52 + length : -32], bound))

    def sealing(keys: dict[str, dict[str, str]]) -> dict[int, bytes]:
        return {int(number): bytes.fromhex(key) for number, key in keys["sealing"].items()}

    projects = {id: (bytes.fromhex(keys["name"]), sealing(keys)) for id, keys in body["projects"].items()}
    return Keyring(repository, body["chunk_size"], sealing(body["control"]), projects)


def manifests(folder: Folder, keyring: Keyring) -> dict[str, tuple[str, bytes]]:
    """Return id → (project, root name) of all manifests that were committed and not deleted."""
    sessions: dict[int, str] = {}
    found: dict[str, tuple[str, bytes]] = {}
    previous, number = ZERO, 1
    while (name := f"log/{number}") in folder.files:
        data = folder.get(name)
        entry = json.loads(unseal(data, LOG, keyring.control, keyring.repository, name))
        assert entry["previous"] == previous.hex()
        if entry["event"] == "open":
            sessions[number] = entry["project"]
        elif entry["event"] == "end":
            sessions.pop(entry["session"], None)
        elif entry["event"] == "commit" and entry["session"] in sessions:
            project = sessions.pop(entry["session"])
            for ordinal, (root, _) in enumerate(entry["manifests"]):
                found[f"{number}.{ordinal}"] = project, bytes.fromhex(root)
        elif entry["event"] == "delete":
            for id in entry["manifests"]:
                found.pop(id, None)
        previous, number = data[-32:], number + 1
    return found


Place = tuple[bytes, int, int, int, int]  # pack, offset, length, plain length, form


class Project:
    """One project's things, found by the packs' tables of contents."""

    def __init__(self, folder: Folder, keyring: Keyring, id: str) -> None:
        self.folder = folder
        self.repository = keyring.repository
        self.name_key, self.sealing = keyring.projects[id]
        self.tag = keyed(self.name_key, b"restead 1 project tag")[:16].hex()
        self.places: dict[bytes, tuple[int, Place]] = {}
        for name in folder.names(f"packs/{self.tag}/"):
            for thing, kind, place in self.contents(folder.get(name)):
                self.places[thing] = kind, place

    def contents(self, pack: bytes) -> Iterator[tuple[bytes, int, Place]]:
        offset, length = struct.unpack(">II", pack[-8:])
        assert offset + length + 8 == len(pack)
        bound = pack[:48] + self.repository + struct.pack(">HBxII32s", CONTENTS, 0, offset, 0, ZERO)
        lines = self.cipher(pack).decrypt(b"\xff" * 12, pack[offset : offset + length], bound)
        for name, at, sealed, plain, kind, form in struct.iter_unpack(">32sIIIHBx", lines):
            yield name, kind, (blake3(pack).digest(), at, sealed, plain, form)

    def cipher(self, pack: bytes) -> AESGCM:
        number, salt = header(pack, PACK)
        return AESGCM(object_key(self.sealing[number], PACK, salt))

    def thing(self, name: bytes, kind: int) -> bytes:
        found, (pack, at, length, plain, form) = self.places[name]
        assert found == kind
        data = self.folder.get(f"packs/{self.tag}/{pack.hex()}")
        assert blake3(data).digest() == pack
        bound = data[:48] + self.repository + struct.pack(">HBxII32s", kind, form, at, plain, name)
        body = self.cipher(data).decrypt(at.to_bytes(12, "big"), data[at : at + length], bound)
        body = zstd.decompress(body) if form else body
        assert len(body) == plain
        assert keyed(keyed(self.name_key, b"restead 1 name key" + struct.pack(">H", kind)), body) == name
        return body

    def index(self) -> Iterator[tuple[bytes, Place]]:
        for name in self.folder.names(f"index/{self.tag}/"):
            plain = unseal(self.folder.get(name), INDEX, self.sealing, self.repository, name)
            packs, entries = struct.unpack(">II", plain[:8])
            start = 8 + 32 * packs
            assert len(plain) == start + 49 * entries
            for thing, pack, *place in struct.iter_unpack(">32sIIIIB", plain[start:]):
                yield thing, (plain[8 + 32 * pack : 40 + 32 * pack], *place)

    def disk(self, root: bytes) -> tuple[bytes, dict[str, object]]:
        """Return the bytes of a disk, and what is said about it."""
        plain = self.thing(root, ROOT)
        chunk_size, size, top, length = struct.unpack(">IQ32sI", plain[:48])
        assert len(plain) == 48 + length
        disk = bytearray(size)
        level, pages = 0, -(-size // (chunk_size * FANOUT))
        while pages > 1:
            level, pages = level + 1, -(-pages // FANOUT)
        self.fill(disk, chunk_size, level, 0, top)
        return bytes(disk), json.loads(plain[48:])

    def fill(self, disk: bytearray, chunk_size: int, level: int, offset: int, name: bytes) -> None:
        if name == ZERO:
            return
        page = self.thing(name, PAGE)
        found, count = struct.unpack(">BxxxI", page[:8])
        step = chunk_size * FANOUT**level
        assert (found, count) == (level, min(FANOUT, -(-(len(disk) - offset) // step)))
        for at in range(count):
            entry, begin = page[8 + 32 * at : 40 + 32 * at], offset + at * step
            if level:
                self.fill(disk, chunk_size, level - 1, begin, entry)
            elif entry != ZERO:
                chunk = self.thing(entry, CHUNK)
                assert len(chunk) == min(chunk_size, len(disk) - begin)
                disk[begin : begin + len(chunk)] = chunk
