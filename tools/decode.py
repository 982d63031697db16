#!/usr/bin/env python3
"""Restores disks from a local copy of a restead repository.  It knows docs/format.md and nothing of restead.

    decode.py REPOSITORY --key-file KEY list                       every disk backup: id, project, size, moment, …
    decode.py REPOSITORY --key-file KEY restore MANIFEST OUTPUT    writes one disk to the new file OUTPUT, sparse
Instead of --key-file: --recovery-key-file or --passphrase-file, files whose first line is it.
Exit codes: 0 done; 1 failed, in whatever way; 2 not begun: wrong usage, wrong key, no such disk, OUTPUT is there.
Needs Python 3.11, blake3, cryptography, backports.zstd (from 3.14 on Python has it), and argon2-cffi for passphrases.
"""

import base64
import json
import os
import sqlite3
import struct
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK, PAGE, ROOT, CONTENTS, PACK, LOG, KEYRING = 2, 3, 4, 5, 1, 7, 9
FANOUT, ZERO, VERBS = 1024, bytes(32), {"list": 0, "restore": 2}
KINDS = {"--key-file": "key file", "--recovery-key-file": "recovery key", "--passphrase-file": "passphrase"}
Json = dict[str, Any]


class Damaged(Exception):
    """Stored bytes are missing, or not what was stored."""


class Refused(Exception):
    """What was asked for cannot be, however whole the repository is."""


def need(it_is_so: bool, message: str) -> None:
    if not it_is_so:
        raise Damaged(message)


def keyed(key: bytes, message: bytes) -> bytes:
    return blake3(message, key=key).digest()


def unsealed(keys: Json, kind: int, head: bytes, nonce: bytes, sealed: bytes, bound: bytes, name: str) -> bytes:
    """Open what is sealed in an object that begins with the header *head*; *keys* as they stand in the keyring."""
    magic, version, found, number, salt = struct.unpack(">8sHHI32s", head)
    need((magic, version, found) == (b"restead\n", 1, kind), f"{name} is not of format 1 and kind {kind}")
    need(str(number) in keys["sealing"], f"{name} is sealed with key {number}, which the keyring does not hold")
    try:
        secret = bytes.fromhex(keys["sealing"][str(number)])
        key = keyed(secret, b"restead 1 object key" + struct.pack(">H", kind) + salt)
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except InvalidTag:
        raise Damaged(f"{name} is not what was sealed there: damaged, forged or swapped") from None


class Store:
    """The objects of a local repository: parts of a path that begin with "=" are no part of a name."""

    def __init__(self, root: Path) -> None:
        self.files: dict[str, Path] = {}
        for path in root.rglob("*"):
            parts = path.relative_to(root).parts
            if "=tmp" not in parts and path.is_file():
                self.files["/".join(part for part in parts if not part.startswith("="))] = path

    def get(self, name: str, offset: int, length: int) -> bytes:
        """Return bytes of an object; a negative offset counts from its end."""
        with self.files[name].open("rb") as file:
            file.seek(offset if offset >= 0 else max(0, self.files[name].stat().st_size + offset))
            data = file.read(length)
        need(len(data) == length, f"{name} is too short: {length} bytes from {offset} on are needed")
        return data

    def whole(self, name: str) -> bytes:
        """Return an object that ends with a digest of itself, checked."""
        need(name in self.files, f"{name} is missing")
        data = self.files[name].read_bytes()
        need(blake3(data[:-32]).digest() == data[-32:], f"{name} is damaged: its bytes do not match their digest")
        return data

    def last(self, prefix: str) -> int:
        return max((int(name.removeprefix(prefix)) for name in self.files if name.startswith(prefix)), default=0)


def wrapping_key(kind: str, file: Path, wrapping: Json) -> bytes:
    """Return what a passphrase, key file or recovery key makes of the salt of a wrapping."""
    salt, cost, data = bytes.fromhex(wrapping["salt"]), wrapping["cost"], file.read_bytes()
    line = data.decode("utf-8", "surrogateescape").partition("\n")[0].rstrip("\r")
    if kind == "passphrase":
        from argon2.low_level import Type, hash_secret_raw
        words = unicodedata.normalize("NFC", line).encode("utf-8", "surrogateescape")
        return hash_secret_raw(words, salt, cost["passes"], cost["memory"], cost["lanes"], 32, Type.ID, 0x13)
    if kind == "recovery key":  # groups of four letters and one that checks them; the last group checks them all
        letters = "".join(line.upper().replace("-", "").split())
        with suppress(ValueError):  # of what is none; the line itself is no key either
            data = base64.b32decode("".join(letters[at : at + 4] for at in range(0, 65, 5)) + "====")
    if len(data) != 32:
        raise Refused(f"{file} holds {len(data)} bytes of a key, 32 are needed")
    return keyed(data, b"restead 1 wrapping key" + salt)


class Keyring:
    """The newest version of the keyring; every one that it says must be there is looked at."""

    def __init__(self, store: Store, kind: str, file: Path) -> None:
        self.store, number = store, store.last("keyring/")
        need(number > 0, "there is no repository here: no keyring/ with numbered files in it")
        data = store.whole(f"keyring/{number}")
        clear = json.loads(data[52 : 52 + int.from_bytes(data[48:52], "big")])
        self.repository = bytes.fromhex(clear["repository"])
        keys = {"sealing": {"0": self.unwrapped(clear["wrappings"], kind, file).hex()}}
        body, _ = self.read(f"keyring/{number}", KEYRING, keys)
        self.control, self.projects, previous = body["control"], body["projects"], body["previous"]
        for before in range(number - 1, body["first"] - 1, -1):
            body, digest = self.read(f"keyring/{before}", KEYRING, keys)
            need(digest == previous, f"keyring/{before} is not the one that keyring/{before + 1} follows on")
            previous = body["previous"]

    def unwrapped(self, wrappings: list[Json], kind: str, file: Path) -> bytes:
        for one in [one for one in wrappings if one["kind"] == kind]:
            bound = b"restead 1 wrapping" + self.repository + bytes.fromhex(one["id"]) + kind.encode()
            with suppress(InvalidTag):
                return AESGCM(wrapping_key(kind, file, one)).decrypt(bytes(12), bytes.fromhex(one["wrapped"]), bound)
        raise Refused(f"the {kind} does not open this repository")

    def read(self, name: str, kind: int, keys: Json) -> tuple[Json, str]:
        """Return what a version of the keyring or an entry of the log says, and its digest."""
        data = self.store.whole(name)
        end = 52 + int.from_bytes(data[48:52], "big") if kind == KEYRING else 48
        bound = data[:end] + self.repository + name.encode()
        return json.loads(unsealed(keys, kind, data[:48], bytes(12), data[end:-32], bound, name)), data[-32:].hex()


class Log:
    """The log, replayed as far as it decides what there is."""

    def __init__(self, keyring: Keyring) -> None:
        self.manifests: Json = {}  # id: (project, name of the root, label, session)
        self.partial, self.open = Json(), dict[int, Json]()
        self.holds: set[tuple[str, str]] = set()
        before = ZERO.hex()
        for number in range(1, keyring.store.last("log/") + 1):
            entry, digest = keyring.read(f"log/{number}", LOG, keyring.control)
            need(entry["previous"] == before, f"log/{number} does not follow on log/{number - 1}")
            self.say(number, entry)
            before = digest

    def say(self, number: int, e: Json) -> None:
        """Take in an entry; one that is void falls through."""
        match e["event"]:
            case "open" if all(id in self.manifests or id in self.partial for id in e["reads"]):
                self.open[number] = e
            case "progress" if e["session"] in self.open:
                self.partial |= self.made(number, e)
            case "commit" if e["session"] in self.open and set(e["pins"]) <= set(self.open[e["session"]]["reads"]):
                self.manifests |= self.made(number, e)
                taken = self.open.pop(e["session"])["reads"]
                self.partial = {id: it for id, it in self.partial.items() if id not in taken and it[3] != e["session"]}
            case "end":
                self.open.pop(e["session"], None)
            case "delete" if not {id for id, _ in self.holds} & set(e["manifests"]):
                for id in e["manifests"]:
                    self.manifests.pop(id, None)
                    self.partial.pop(id, None)
            case "hold" if e["manifest"] in self.manifests:
                self.holds.add((e["manifest"], e["holder"]))
            case "release":
                self.holds.discard((e["manifest"], e["holder"]))

    def made(self, number: int, e: Json) -> Json:
        project, session, roots = self.open[e["session"]]["project"], e["session"], enumerate(e["manifests"])
        return {f"{number}.{at}": (project, bytes.fromhex(root), label, session) for at, (root, label) in roots}


class Project:
    """One project's things, found by the packs' tables of contents, which go into a temporary database."""

    def __init__(self, keyring: Keyring, id: str) -> None:
        need(id in keyring.projects, f"the keyring holds no keys of project {id}")
        self.store, self.repository, self.keys = keyring.store, keyring.repository, keyring.projects[id]
        self.name_key = bytes.fromhex(self.keys["name"])
        tag = keyed(self.name_key, b"restead 1 project tag")[:16].hex()
        self.places = sqlite3.connect("")
        self.places.execute("CREATE TABLE places (pack TEXT, name BLOB, at, length, plain, kind, form)")
        self.unread: list[str] = []  # why the tables of contents of some packs are not known
        for pack in [name for name in self.store.files if name.startswith(f"packs/{tag}/")]:
            try:
                offset, length = struct.unpack(">II", self.store.get(pack, -8, 8))
                what = struct.pack(">HBxII32s", CONTENTS, 0, offset, 0, ZERO)
                lines = struct.iter_unpack(">32sIIIHBx", self.part(pack, offset, length, b"\xff" * 12, what))
                rows = [(pack, *line) for line in lines]  # name, offset, sealed and plain length, kind, form
                self.places.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            except Damaged as error:
                self.unread.append(str(error))
        self.places.execute("CREATE INDEX by_name ON places (name)")

    def part(self, pack: str, offset: int, length: int, nonce: bytes, what: bytes) -> bytes:
        head, sealed = self.store.get(pack, 0, 48), self.store.get(pack, offset, length)
        return unsealed(self.keys, PACK, head, nonce, sealed, head + self.repository + what, pack)

    def thing(self, kind: int, name: bytes) -> bytes:
        """Return a chunk, page or root from the first of its places that holds what it should."""
        why, key = [], keyed(self.name_key, b"restead 1 name key" + struct.pack(">H", kind))
        query = "SELECT pack, at, length, plain, form FROM places WHERE name = ? AND kind = ?"
        for pack, at, length, plain, form in self.places.execute(query, (name, kind)).fetchall():
            what = struct.pack(">HBxII32s", kind, form, at, plain, name)
            try:
                body = self.part(pack, at, length, at.to_bytes(12, "big"), what)
                body = zstd.decompress(body) if form else body
                need((len(body), keyed(key, body)) == (plain, name), f"{pack}: at {at} is not what its name says")
                return body
            except (Damaged, zstd.ZstdError) as error:
                why.append(str(error))
        raise Damaged(f"{name.hex()} is lost: " + ("; ".join(why + self.unread) or "no pack holds it"))

    def root(self, name: bytes) -> tuple[int, int, bytes, Json]:
        """Return chunk size, bytes of the disk, name of the top page, and what is said about the disk."""
        plain = self.thing(ROOT, name)
        chunk, size, top, _ = struct.unpack(">IQ32sI", plain[:48])
        return chunk, size, top, json.loads(plain[48:])

    def chunks(self, name: bytes, level: int, offset: int, chunk: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield offset and bytes of all that is not zero below that page, in the order of the disk."""
        if name == ZERO:
            return
        page, step = self.thing(PAGE, name), chunk * FANOUT**level
        count = min(FANOUT, -(-(size - offset) // step))
        need(struct.unpack(">B3xI", page[:8]) == (level, count), f"page {name.hex()} does not fit at {offset}")
        for at in range(count):
            entry, begin = page[8 + 32 * at : 40 + 32 * at], offset + at * step
            if level:
                yield from self.chunks(entry, level - 1, begin, chunk, size)
            elif entry != ZERO:
                data = self.thing(CHUNK, entry)
                need(len(data) == min(chunk, size - begin), f"chunk {entry.hex()} is too long or too short for {begin}")
                yield begin, data

    def restore(self, root: bytes, output: Path) -> int:
        """Write a disk to a new file; return 0.  A restore that fails leaves no file."""
        chunk, size, top, _ = self.root(root)
        level = next(level for level in range(9) if chunk * FANOUT ** (level + 1) >= size)
        with output.open("xb") as file:
            try:
                for offset, data in self.chunks(top, level, 0, chunk, size):
                    file.seek(offset)
                    file.write(data)
                file.truncate(size)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                output.unlink()
                raise
        return 0


def show(keyring: Keyring, log: Log) -> int:
    """Print a line for each manifest; return 1 if one cannot be read."""
    projects, code = dict[str, Project](), 0
    for id, (project, root, label, _) in log.manifests.items():
        try:
            projects[project] = projects.get(project) or Project(keyring, project)
            _, size, _, about = projects[project].root(root)
            said = [size, about["taken_at"], about["role"], label, about["server"].get("name", "")]
        except Damaged as error:
            code, said = 1, ["damaged", error]
        print(id, project, *said, sep="\t", flush=True)
    return code


def main() -> int:
    try:
        match sys.argv[1:]:
            case [folder, flag, file, verb, *rest] if flag in KINDS and VERBS.get(verb) == len(rest):
                log = Log(keyring := Keyring(Store(Path(folder)), KINDS[flag], Path(file)))
                if verb == "list":
                    return show(keyring, log)
                if rest[0] not in log.manifests:
                    raise Refused(f"there is no disk backup {rest[0]}")
                project, root, *_ = log.manifests[rest[0]]
                return Project(keyring, project).restore(root, Path(rest[1]))
        raise Refused(f"this is not understood\n{__doc__}")
    except Exception as error:  # noqa: BLE001  whatever it is, it is told, and no success
        print(f"decode.py: {error if isinstance(error, Damaged | Refused | OSError) else repr(error)}", file=sys.stderr)
        return 2 if isinstance(error, Refused | FileExistsError) else 1


if __name__ == "__main__":
    os._exit(main())  # all is written: to try once more what could not be printed would change the code
