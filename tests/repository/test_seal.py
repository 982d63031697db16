"""Sealed objects: they open as what they were sealed as, and as nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from restead.domain.errors import Damaged
from restead.repository.seal import (
    DIGEST_SIZE,
    HEADER_SIZE,
    OVERHEAD,
    Header,
    Kind,
    derive_key,
    digest_of,
    scrub,
    seal,
    seal_under,
    unseal,
)


@dataclass
class Keys:
    sealing_keys: Mapping[int, bytes]
    newest: int


KEYS = Keys({1: b"\x01" * 32, 2: b"\x02" * 32}, 2)
REPOSITORY = bytes(range(16))
NAME = b"log/17"
PLAIN = b"what is said"


def _sealed() -> bytes:
    return seal(KEYS, REPOSITORY, Kind.LOG, NAME, PLAIN)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100_000])
def test_what_was_sealed_is_unsealed(size: int) -> None:
    sealed = seal(KEYS, REPOSITORY, Kind.INDEX, b"index/1", b"x" * size)
    assert len(sealed) == size + OVERHEAD
    assert unseal(KEYS, REPOSITORY, Kind.INDEX, b"index/1", sealed) == b"x" * size


def test_nothing_is_sealed_twice_alike() -> None:
    assert _sealed() != _sealed()


def test_the_newest_key_seals_and_older_ones_still_open() -> None:
    assert Header.decode(_sealed(), Kind.LOG, "it").key_number == 2
    old = seal(Keys(KEYS.sealing_keys, 1), REPOSITORY, Kind.LOG, NAME, PLAIN)
    assert unseal(KEYS, REPOSITORY, Kind.LOG, NAME, old) == PLAIN


def test_every_flipped_bit_is_damage_that_names_the_object_with_and_without_keys() -> None:
    sealed = _sealed()
    for at in range(len(sealed)):
        for bit in range(8):
            flipped = bytearray(sealed)
            flipped[at] ^= 1 << bit
            with pytest.raises(Damaged, match="log/17"):
                unseal(KEYS, REPOSITORY, Kind.LOG, NAME, bytes(flipped))
            with pytest.raises(Damaged, match="log/17"):
                scrub(bytes(flipped), "log/17")


def test_every_other_length_is_damage() -> None:
    sealed = _sealed()
    for other in [*(sealed[:length] for length in range(len(sealed))), sealed + b"\0", sealed + sealed]:
        with pytest.raises(Damaged, match="log/17"):
            unseal(KEYS, REPOSITORY, Kind.LOG, NAME, other)


def test_nothing_stands_in_for_anything_else() -> None:
    sealed = _sealed()
    for wrong in (
        lambda: unseal(KEYS, REPOSITORY, Kind.LOG, b"log/18", sealed),
        lambda: unseal(KEYS, REPOSITORY, Kind.SNAPSHOT, NAME, sealed),
        lambda: unseal(KEYS, bytes(16), Kind.LOG, NAME, sealed),
        lambda: unseal(Keys({2: b"\x03" * 32}, 2), REPOSITORY, Kind.LOG, NAME, sealed),
    ):
        with pytest.raises(Damaged, match=r"log/1[78]"):
            wrong()


def test_who_fits_the_digest_to_a_change_is_found_by_the_seal() -> None:
    """The digest is for keyless scrubbing; it proves nothing against somebody who means it."""
    sealed = _sealed()
    forged = bytearray(sealed[:-DIGEST_SIZE])
    for at in range(len(forged)):
        forged[at] ^= 1
        whole = bytes(forged) + digest_of(bytes(forged))
        scrub(whole, "log/17")
        with pytest.raises(Damaged, match="log/17"):
            unseal(KEYS, REPOSITORY, Kind.LOG, NAME, whole)
        forged[at] ^= 1


def test_a_key_that_the_keyring_does_not_hold_is_named() -> None:
    with pytest.raises(Damaged, match="log/17 is sealed with key 2, which the keyring does not hold"):
        unseal(Keys({1: b"\x01" * 32}, 1), REPOSITORY, Kind.LOG, NAME, _sealed())


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (0, b"RESTEAD\n", "does not begin"),
        (8, b"\x00\x02", "format 2"),
        (10, b"\x00\x08", "of kind 8, expected 7 .log."),
    ],
)
def test_a_header_says_what_is_wrong_with_it(at: int, value: bytes, says: str) -> None:
    header = bytearray(Header.fresh(Kind.LOG, 1).encode())
    header[at : at + len(value)] = value
    with pytest.raises(Damaged, match=f"log/17.*{says}"):
        Header.decode(bytes(header), Kind.LOG, "log/17")
    with pytest.raises(Damaged, match=f"log/17 holds 47 bytes, its header alone has {HEADER_SIZE}"):
        Header.decode(bytes(47), Kind.LOG, "log/17")


def test_keys_are_separated_by_sealing_key_kind_and_salt() -> None:
    keys = {
        derive_key(sealing_key, kind, salt)
        for sealing_key in KEYS.sealing_keys.values()
        for kind in Kind
        for salt in (bytes(32), b"\x01" * 32)
    }
    assert len(keys) == 2 * len(Kind) * 2


def test_numbers_of_kinds_never_change() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "PACK": 1, "CHUNK": 2, "PAGE": 3, "ROOT": 4, "CONTENTS": 5, "INDEX": 6, "LOG": 7, "SNAPSHOT": 8, "KEYRING": 9,
        "SERVICE": 10,
    }  # fmt: skip


def test_a_seal_with_a_given_salt_is_always_the_same() -> None:
    header = Header(Kind.LOG, 1, b"\x05" * 32)
    one, two = (seal_under(header, b"\x01" * 32, REPOSITORY, NAME, PLAIN) for _ in range(2))
    assert one == two
