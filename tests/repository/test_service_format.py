"""The published service copy, opened with nothing but what docs/format.md says, and by restead."""

import json
import struct
import sys
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import ServiceCopies
from restead.repository.keyring import ControlKeys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_VECTOR = json.loads((Path(__file__).parents[2] / "docs" / "format" / "service.json").read_text())
_KEY, _REPOSITORY = bytes.fromhex(_VECTOR["sealing_key_1"]), bytes.fromhex(_VECTOR["repository"])
_OBJECT = bytes.fromhex(_VECTOR["object"])


def test_the_published_copy_opens_by_the_description_alone() -> None:
    header, body, digest = _OBJECT[:48], _OBJECT[48:-32], _OBJECT[-32:]
    assert blake3(_OBJECT[:-32]).digest() == digest
    magic, version, kind, number, salt = struct.unpack(">8sHHI32s", header)
    assert (magic, version, kind, number) == (b"restead\n", 1, 10, 1)
    key = blake3(b"restead 1 object key" + struct.pack(">H", 10) + salt, key=_KEY).digest()
    plain = AESGCM(key).decrypt(bytes(12), body, header + _REPOSITORY + _VECTOR["name"].encode())
    form, length = struct.unpack_from(">BI", plain)
    text = zstd.decompress(plain[5:]) if form else plain[5:]
    assert len(text) == length
    assert json.loads(text) == _VECTOR["says"]
    assert text == json.dumps(_VECTOR["says"], sort_keys=True, separators=(",", ":")).encode()


def test_restead_opens_the_published_copy() -> None:
    store = MemoryBlobs()
    store.put(_VECTOR["name"], _OBJECT)
    copies = ServiceCopies(store, ControlKeys(bytes(32), {1: _KEY}, 1), _REPOSITORY)
    assert copies.numbers() == [3]
    copy = copies.copy(3)
    says = _VECTOR["says"]
    assert (copy.service, copy.repository, copy.head) == (says["service"], says["repository"], says["head"])
    assert (copy.digest.hex(), copy.parts) == (says["digest"], says["parts"])
