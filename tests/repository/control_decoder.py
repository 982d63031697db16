"""Reads keyring, log and snapshots of a repository: written from docs/format.md alone, sharing no code with restead."""

import base64
import json
import struct
import unicodedata
from dataclasses import dataclass, field

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = bytes.fromhex("726573746561640a")
INDEX, LOG, SNAPSHOT, KEYRING = 6, 7, 8, 9
ZEROES = bytes(12)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def hash_of(data: bytes, key: bytes | None = None) -> bytes:
    return blake3(data, key=key).digest() if key else blake3(data).digest()


def object_key(sealing_key: bytes, kind: int, salt: bytes) -> bytes:
    return hash_of(b"restead 1 object key" + struct.pack(">H", kind) + salt, sealing_key)


def header(data: bytes, kind: int) -> tuple[int, bytes]:
    magic, version, found, number = struct.unpack(">8sHHI", data[:16])
    assert (magic, version, found) == (MAGIC, 1, kind)
    return number, data[16:48]


def unsealed(data: bytes, kind: int, keys: dict[int, bytes], repository: bytes, identity: str) -> bytes:
    assert hash_of(data[:-32]) == data[-32:]
    number, salt = header(data, kind)
    cipher = AESGCM(object_key(keys[number], kind, salt))
    return cipher.decrypt(ZEROES, data[48:-32], data[:48] + repository + identity.encode())


# Keyring


@dataclass
class Keyring:
    repository: bytes
    clear: dict
    body: dict

    @property
    def control(self) -> dict[int, bytes]:
        return {int(number): bytes.fromhex(key) for number, key in self.body["control"]["sealing"].items()}


def unwrapped(wrapping: dict, secret: str | bytes, repository: bytes) -> bytes:
    salt = bytes.fromhex(wrapping["salt"])
    if wrapping["kind"] == "passphrase":
        words, cost = unicodedata.normalize("NFC", secret).encode(), wrapping["cost"]
        key = hash_secret_raw(words, salt, cost["passes"], cost["memory"], cost["lanes"], 32, Type.ID, 0x13)
    else:
        key = hash_of(b"restead 1 wrapping key" + salt, secret)
    bound = b"restead 1 wrapping" + repository + bytes.fromhex(wrapping["id"]) + wrapping["kind"].encode()
    return AESGCM(key).decrypt(ZEROES, bytes.fromhex(wrapping["wrapped"]), bound)


def keyring(data: bytes, number: int, kind: str, secret: str | bytes) -> Keyring:
    assert hash_of(data[:-32]) == data[-32:]
    _, salt = header(data, KEYRING)
    (length,) = struct.unpack(">I", data[48:52])
    clear = json.loads(data[52 : 52 + length])
    repository = bytes.fromhex(clear["repository"])
    assert clear["number"] == number
    (wrapping,) = [one for one in clear["wrappings"] if one["kind"] == kind]
    keyring_secret = unwrapped(wrapping, secret, repository)
    bound = data[: 52 + length] + repository + f"keyring/{number}".encode()
    cipher = AESGCM(object_key(keyring_secret, KEYRING, salt))
    return Keyring(repository, clear, json.loads(cipher.decrypt(ZEROES, data[52 + length : -32], bound)))


def recovery_key(printed: str) -> bytes:
    letters = "".join(printed.upper().replace("-", "").split())
    groups = [letters[at : at + 5] for at in range(0, 70, 5)]
    for g, group in enumerate(groups[:13]):
        a, b, c, d, check = map(LETTERS.index, group)
        assert check == (9 * g + a + 3 * b + 5 * c + 7 * d) % 32
    key = base64.b32decode("".join(group[:4] for group in groups[:13]) + "====")
    assert base64.b32encode(hash_of(b"restead 1 recovery key sum" + key))[:5].decode() == groups[13]
    return key


# Log


@dataclass
class State:
    """What the log says, kept as the snapshot has it."""

    head: int = 0
    digest: str = "00" * 32
    sessions: dict = field(default_factory=dict)
    manifests: dict = field(default_factory=dict)
    partial: dict = field(default_factory=dict)
    retained: dict = field(default_factory=dict)
    holds: dict = field(default_factory=dict)
    condemnations: dict = field(default_factory=dict)
    condemned: list = field(default_factory=list)

    def is_open(self, number: int) -> bool:
        return self.sessions.get(str(number), {}).get("phase") == "open"

    def say(self, entry: dict, digest: bytes) -> None:
        assert entry["previous"] == self.digest
        self.head, self.digest = self.head + 1, digest.hex()
        getattr(self, "say_" + entry["event"])(entry)
        needed = [id for one in self.sessions.values() for id in one["reads" if one["phase"] == "open" else "pins"]]
        self.retained = {id: entry for id, entry in self.retained.items() if id in needed}

    def say_open(self, e: dict) -> None:
        if all(id in self.manifests or id in self.partial for id in e["reads"]):
            self.sessions[str(self.head)] = {
                "label": e["label"], "project": e["project"], "reads": e["reads"], "phase": "open", "manifests": [],
                "pins": [],
            }  # fmt: skip

    def made(self, e: dict) -> dict:
        session = self.sessions[str(e["session"])]
        return {
            f"{self.head}.{n}": [session["project"], root, label, e["session"], session["label"]]
            for n, (root, label) in enumerate(e["manifests"])
        }

    def say_commit(self, e: dict) -> None:
        if not self.is_open(e["session"]):
            return
        session = self.sessions[str(e["session"])]
        if not set(e["pins"]) <= set(session["reads"]):
            return
        made = self.made(e)
        self.manifests |= made
        dropped = [id for id, one in self.partial.items() if one[3] == e["session"] or id in session["reads"]]
        session.update(phase="committed", manifests=list(made), pins=e["pins"])
        self.drop(dropped)

    def say_progress(self, e: dict) -> None:
        if self.is_open(e["session"]):
            self.partial |= self.made(e)

    def say_end(self, e: dict) -> None:
        session = self.sessions.get(str(e["session"]))
        if session and session["pins"] and not e["unpin"]:
            session["phase"] = "ended"
        elif session:
            del self.sessions[str(e["session"])]

    def say_delete(self, e: dict) -> None:
        if not any(id in self.holds for id in e["manifests"]):
            self.drop(e["manifests"])

    def drop(self, ids: list[str]) -> None:
        for place in (self.manifests, self.partial):
            for id in set(ids) & set(place):
                self.retained[id] = place.pop(id)

    def say_hold(self, e: dict) -> None:
        if e["manifest"] in self.manifests:
            self.holds[e["manifest"]] = sorted({*self.holds.get(e["manifest"], []), e["holder"]})

    def say_release(self, e: dict) -> None:
        left = [holder for holder in self.holds.pop(e["manifest"], []) if holder != e["holder"]]
        if left:
            self.holds[e["manifest"]] = left

    def say_condemn(self, e: dict) -> None:
        waits = sorted(int(number) for number in self.sessions if self.is_open(int(number)))
        self.condemnations[str(self.head)] = {"packs": sorted(e["packs"]), "waits": waits}
        self.condemned = sorted({*self.condemned, *e["packs"]})

    def say_removed(self, e: dict) -> None:
        one = self.condemnations.get(str(e["condemnation"]))
        if one and not any(self.is_open(number) for number in one["waits"]):
            del self.condemnations[str(e["condemnation"])]


def replay(objects: dict[str, bytes], keys: dict[int, bytes], repository: bytes) -> State:
    state = State()
    while (name := f"log/{state.head + 1}") in objects:
        state.say(json.loads(unsealed(objects[name], LOG, keys, repository, name)), objects[name][-32:])
    return state


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
