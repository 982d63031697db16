"""The keyring: what opens it, that changes never cancel each other, and that damage is found."""

import os
import random
import string
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.drivers.crash_disk import CrashDisk, PowerCut

from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ProjectId
from restead.drivers.blobs import LocalBlobs, MemoryBlobs
from restead.ports import Buffer
from restead.repository.keyring import Cost, KeyFile, Keyring, Passphrase, RecoveryKey, Secret, WrappingKind

CHEAP = Cost(passes=1, memory=8, lanes=1)
WORDS = Passphrase("correct horse")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def _created(store: MemoryBlobs, secret: Secret = WORDS) -> Keyring:
    return Keyring.create(store, secret, chunk_size=4096, cost=CHEAP)


SECRETS = [WORDS, KeyFile(b"k" * 32), RecoveryKey(b"r" * 32)]


@pytest.mark.parametrize("secret", SECRETS)
def test_the_secret_it_was_made_with_opens_it(secret: Secret) -> None:
    store = MemoryBlobs()
    made = _created(store, secret)
    opened = Keyring.open(store, secret)
    assert (opened.repository_id, opened.chunk_size, opened.control) == (made.repository_id, 4096, made.control)
    assert len(opened.repository_id) == 16


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (WORDS, Passphrase("incorrect horse"), "the passphrase does not open this repository"),
        (KeyFile(b"k" * 32), KeyFile(b"l" * 32), "the key file does not open this repository"),
        (RecoveryKey(b"k" * 32), RecoveryKey(b"l" * 32), "the recovery key does not open this repository"),
        (WORDS, KeyFile(b"l" * 32), "this repository has no key file, it is opened by passphrase"),
        (KeyFile(b"k" * 32), RecoveryKey(b"k" * 32), "has no recovery key, it is opened by key file"),
    ],
)
def test_any_other_secret_is_refused_clearly(right: Secret, wrong: Secret, says: str) -> None:
    store = MemoryBlobs()
    _created(store, right)
    with pytest.raises(InvalidRequest, match=says):
        Keyring.open(store, wrong)


def test_a_store_without_a_repository_says_so() -> None:
    with pytest.raises(NotFound, match="there is no repository"):
        Keyring.open(MemoryBlobs(), WORDS)


def test_a_repository_is_never_made_over_another() -> None:
    store = MemoryBlobs()
    made = _created(store)
    with pytest.raises(InvalidRequest, match="holds a repository already"):
        _created(store)
    assert Keyring.open(store, WORDS).repository_id == made.repository_id


def test_the_same_words_typed_on_another_keyboard_open_it() -> None:
    store = MemoryBlobs()
    _created(store, Passphrase("caf\u00e9"))
    Keyring.open(store, Passphrase("cafe\u0301"))


def test_an_empty_passphrase_is_none() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        Passphrase("")


def test_keys_of_a_project_are_made_once_and_are_its_own() -> None:
    store = MemoryBlobs()
    one = _created(store)
    two = Keyring.open(store, WORDS)
    keys = one.project(ProjectId("p"))
    assert two.project(ProjectId("p")) == keys
    assert Keyring.open(store, WORDS).projects[ProjectId("p")] == keys
    other = one.project(ProjectId("q"))
    secrets = [*keys.sealing_keys.values(), *other.sealing_keys.values(), keys.name_key, other.name_key]
    assert len(set(secrets)) == 4
    assert {len(secret) for secret in secrets} == {32}


def test_asking_again_changes_nothing() -> None:
    store = MemoryBlobs()
    keyring = _created(store)
    for _ in range(3):
        keyring.project(ProjectId("p"))
    assert sorted(name for name, _ in store.list("")) == ["keyring/1", "keyring/2"]


def test_changes_at_the_same_time_do_not_cancel_each_other() -> None:
    store = MemoryBlobs()
    _created(store)
    keyrings = [Keyring.open(store, WORDS) for _ in range(8)]

    def change(n: int) -> None:
        for turn in range(5):
            keyrings[n].project(ProjectId(f"mine-{n}-{turn}"))
            keyrings[n].project(ProjectId(f"everybody's-{turn}"))
        keyrings[n].add_wrapping(KeyFile(bytes([n]) * 32))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(8)))
    opened = [Keyring.open(store, KeyFile(bytes([n]) * 32)) for n in range(8)]
    assert len(opened[0].projects) == 45
    for keyring in keyrings:
        keyring.refresh()
        assert keyring.projects == opened[0].projects
        assert len(keyring.wrappings()) == 9
    opened[0].check()


def test_every_wrapping_opens_the_same_keys() -> None:
    store = MemoryBlobs()
    keyring = _created(store)
    for secret in SECRETS[1:]:
        keyring.add_wrapping(secret, label="another", cost=CHEAP)
    keys = keyring.project(ProjectId("p"))
    assert [Keyring.open(store, secret).project(ProjectId("p")) for secret in SECRETS] == [keys] * 3
    assert [wrapping.kind for wrapping in keyring.wrappings()] == list(WrappingKind)
    assert [wrapping.cost for wrapping in keyring.wrappings()] == [CHEAP, None, None]


def test_the_recovery_key_is_confirmed_by_showing_it() -> None:
    store, right = MemoryBlobs(), RecoveryKey.generate()
    keyring = _created(store)
    with pytest.raises(InvalidRequest, match="the recovery key does not open"):
        keyring.confirm_recovery(right, NOON)
    keyring.add_wrapping(right)
    with pytest.raises(InvalidRequest, match="the recovery key does not open"):
        keyring.confirm_recovery(RecoveryKey.generate(), NOON)
    assert keyring.recovery_confirmed is False
    keyring.confirm_recovery(RecoveryKey.parse(right.printed()), NOON)
    opened = Keyring.open(store, WORDS)
    assert opened.recovery_confirmed is True
    assert [wrapping.confirmed_at for wrapping in opened.wrappings()] == [None, NOON]


class LosesReplies(MemoryBlobs):
    """Stores what it is given, and says that the name was taken: so does a driver that tries again by itself."""

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        super().put(name, data)
        return False


def test_a_change_whose_reply_was_lost_is_made_once() -> None:
    store = LosesReplies()
    made = MemoryBlobs()
    _created(made)
    MemoryBlobs.put(store, "keyring/1", made.get("keyring/1"))
    keyring = Keyring.open(store, WORDS)
    keyring.add_wrapping(KeyFile(b"k" * 32))
    assert len(keyring.wrappings()) == 2
    assert len(list(store.list(""))) == 2


class GoesAway(MemoryBlobs):
    """Stores what it is given, then does not answer."""

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        super().put(name, data)
        raise Unavailable("no answer")


def test_after_no_answer_the_same_call_finds_what_it_did() -> None:
    store, made = GoesAway(), MemoryBlobs()
    _created(made)
    MemoryBlobs.put(store, "keyring/1", made.get("keyring/1"))
    keyring = Keyring.open(store, WORDS)
    with pytest.raises(Unavailable):
        keyring.project(ProjectId("p"))
    assert keyring.project(ProjectId("p")) == Keyring.open(store, WORDS).projects[ProjectId("p")]


def test_a_stale_listing_hides_no_version() -> None:
    store = MemoryBlobs()
    keyring = _created(store)
    store.freeze_listing()
    keyring.project(ProjectId("p"))
    keyring.project(ProjectId("q"))
    assert Keyring.open(store, WORDS).projects == keyring.projects


# Damage


def _objects(versions: int) -> tuple[dict[str, bytes], Keyring]:
    store = MemoryBlobs()
    keyring = _created(store, KeyFile(b"k" * 32))
    for n in range(versions - 1):
        keyring.project(ProjectId(f"p{n}"))
    return {name: store.get(name) for name, _ in store.list("")}, keyring


def _store(objects: dict[str, bytes]) -> MemoryBlobs:
    store = MemoryBlobs()
    for name, data in objects.items():
        store.put(name, data)
    return store


def test_every_flipped_byte_of_the_newest_version_is_damage_that_names_it() -> None:
    objects, _ = _objects(2)
    newest = objects["keyring/2"]
    chance = random.Random(7)
    for at in range(len(newest)):
        flipped = bytearray(newest)
        flipped[at] ^= 1 << chance.randrange(8)
        with pytest.raises(Damaged, match="keyring/2"):
            Keyring.open(_store({**objects, "keyring/2": bytes(flipped)}), KeyFile(b"k" * 32))


def test_every_cut_of_the_newest_version_is_damage() -> None:
    objects, _ = _objects(1)
    for length in range(len(objects["keyring/1"])):
        with pytest.raises(Damaged, match="keyring/1"):
            Keyring.open(_store({"keyring/1": objects["keyring/1"][:length]}), KeyFile(b"k" * 32))


def test_a_missing_version_is_damage_that_names_it() -> None:
    objects, _ = _objects(5)
    for missing in range(1, 5):
        left = {name: data for name, data in objects.items() if name != f"keyring/{missing}"}
        with pytest.raises(Damaged, match=f"keyring/{missing} is missing, keyring/5 exists"):
            Keyring.open(_store(left), KeyFile(b"k" * 32))


def test_swapped_versions_are_damage_where_they_count() -> None:
    objects, keyring = _objects(4)
    for one, two in [(1, 4), (2, 4), (3, 4), (2, 3)]:
        swapped = {**objects, f"keyring/{one}": objects[f"keyring/{two}"], f"keyring/{two}": objects[f"keyring/{one}"]}
        with pytest.raises(Damaged, match=rf"keyring/({one}|{two})"):
            Keyring.open(_store(swapped), KeyFile(b"k" * 32))
    swapped = {**objects, "keyring/1": objects["keyring/2"], "keyring/2": objects["keyring/1"]}
    opened = Keyring.open(_store(swapped), KeyFile(b"k" * 32))
    assert opened.projects == keyring.projects  # old versions are not needed to restore…
    with pytest.raises(Damaged, match="keyring/2"):
        opened.check()  # …and a verification finds them


def test_a_check_finds_damage_in_every_old_version() -> None:
    objects, _ = _objects(4)
    for number in (1, 2, 3):
        broken = bytearray(objects[f"keyring/{number}"])
        broken[60] ^= 1
        store = _store(objects)
        keyring = Keyring.open(store, KeyFile(b"k" * 32))
        keyring.check()
        store.delete(f"keyring/{number}")
        store.put(f"keyring/{number}", bytes(broken))
        with pytest.raises(Damaged, match=f"keyring/{number}"):
            keyring.check()


def test_a_version_of_another_repository_does_not_follow() -> None:
    objects, _ = _objects(2)
    others, _ = _objects(3)
    with pytest.raises(Damaged, match="keyring/3"):
        Keyring.open(_store({**objects, "keyring/3": others["keyring/3"]}), KeyFile(b"k" * 32))


def test_a_forked_keyring_is_found_by_whoever_saw_the_other_branch() -> None:
    objects, _ = _objects(1)
    one, two = _store(objects), _store(objects)
    first, second = (Keyring.open(store, KeyFile(b"k" * 32)) for store in (one, two))
    first.project(ProjectId("p"))
    for name in "xy":
        second.project(ProjectId(name))
    one.put("keyring/3", two.get("keyring/3"))
    with pytest.raises(Damaged, match="keyring/3 does not follow on keyring/2: the keyring is forked"):
        first.refresh()


def test_a_cost_beyond_reason_is_refused_before_it_is_paid() -> None:
    objects = MemoryBlobs()
    _created(objects)
    clear = objects.get("keyring/1").replace(b'"memory":8,', b'"memory":9999999,')
    with pytest.raises(Damaged):
        Keyring.open(_store({"keyring/1": clear}), WORDS)
    from restead.repository.wrapping import Wrapping

    dear = Wrapping("00" * 16, WrappingKind.PASSPHRASE, "", bytes(32), Cost(3, 9_999_999, 4), bytes(48))
    with pytest.raises(Damaged, match="9999999 KiB"):
        dear.unwrap(WORDS, bytes(16))


@pytest.mark.parametrize("survives", [True, False])
def test_keys_that_were_returned_outlive_a_power_cut(tmp_path: Path, survives: bool) -> None:
    """Cut before every call; whoever got keys may have sealed with them."""
    cut_at, finished = 0, False
    while not finished:
        cut_at += 1
        before, after = tmp_path / f"{cut_at}-before", tmp_path / f"{cut_at}-after"
        before.mkdir()
        after.mkdir()
        disk, got = CrashDisk(before, cut_at=cut_at), []
        try:
            keyring = Keyring.create(LocalBlobs(before, calls=disk), KeyFile(b"k" * 32), chunk_size=4096)
            got.append(keyring.control)
            got.append(keyring.project(ProjectId("p")))
            finished = True
        except PowerCut:
            pass
        disk.left_behind(after, lambda _: survives)
        disk.close_all()
        store = LocalBlobs(after)
        if not got and not list(store.list("keyring/")):
            continue  # nothing was promised, and a new one can be made
        opened = Keyring.open(store, KeyFile(b"k" * 32))
        assert [opened.control, opened.project(ProjectId("p"))][: len(got)] == got
    assert cut_at > 15


# Recovery keys


def test_a_printed_recovery_key_reads_back_however_it_is_typed() -> None:
    for _ in range(50):
        key = RecoveryKey.generate()
        printed = key.printed()
        assert len(printed.split("-")) == 14
        for typed in (printed, printed.lower(), printed.replace("-", " "), printed.replace("-", ""), f" {printed}\n"):
            assert RecoveryKey.parse(typed) == key


def test_every_mistyped_letter_of_a_recovery_key_is_found_and_its_group_named() -> None:
    printed = RecoveryKey(bytes(range(32))).printed()
    for at, letter in enumerate(printed):
        if letter == "-":
            continue
        for wrong in set(string.ascii_uppercase + string.digits) - {letter}:
            group = at // 6 + 1
            says = f"group {group} of" if group < 14 else "does not fit its last group"
            with pytest.raises(InvalidRequest, match=says):
                RecoveryKey.parse(printed[:at] + wrong + printed[at + 1 :])


def test_swapped_letters_and_groups_of_a_recovery_key_are_found() -> None:
    chance = random.Random(11)
    for _ in range(200):
        letters = list(RecoveryKey(chance.randbytes(32)).printed().replace("-", ""))
        at = chance.randrange(len(letters) - 1)
        if letters[at] == letters[at + 1]:
            continue
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
        with pytest.raises(InvalidRequest, match="the recovery key"):
            RecoveryKey.parse("".join(letters))
        groups = RecoveryKey(chance.randbytes(32)).printed().split("-")
        one, two = chance.sample(range(14), 2)
        groups[one], groups[two] = groups[two], groups[one]
        with pytest.raises(InvalidRequest, match="the recovery key"):
            RecoveryKey.parse("-".join(groups))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[:-6], "65 letters, expected 70"),
        (lambda text: text + "-AAAAA", "75 letters, expected 70"),
        (lambda text: "", "0 letters, expected 70"),
        (lambda text: text.replace("-", "_"), "_ is never used in it"),
        (lambda text: text[:5] + "é" + text[6:], "is never used in it"),
    ],
)
def test_what_is_no_recovery_key_is_told(change: Callable[[str], str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        RecoveryKey.parse(change(RecoveryKey(bytes(range(32))).printed()))


# Key files and secrecy


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = KeyFile.create(tmp_path / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert KeyFile.read(tmp_path / "key") == made
    assert len(made.secret) == 32


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    made = KeyFile.create(tmp_path / "key")
    with pytest.raises(InvalidRequest, match="exists already"):
        KeyFile.create(tmp_path / "key")
    assert KeyFile.read(tmp_path / "key") == made
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_key_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"key file .*/key cannot be made: No such file or directory"):
        KeyFile.create(tmp_path / "missing" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o601, 0o610, 0o777])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    KeyFile.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InvalidRequest, match=f"has mode {mode:04o}"):
        KeyFile.read(tmp_path / "key")


@pytest.mark.parametrize("size", [0, 31, 33, 5000])
def test_a_key_file_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "key").write_bytes(bytes(size))
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(InvalidRequest, match=f"holds {size} bytes, expected 32"):
        KeyFile.read(tmp_path / "key")


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
        KeyFile.read(tmp_path / "key")


def test_secrets_never_show() -> None:
    store = MemoryBlobs()
    keyring = _created(store)
    keys = keyring.project(ProjectId("p"))
    for secret in SECRETS:
        assert (repr(secret), str(secret), f"{[secret]}") == ("***", "***", "[***]")
    shown = f"{keyring!r} {keys!r} {keyring.control!r} {keyring.wrappings()!r}"
    for hidden in (keys.name_key, *keys.sealing_keys.values(), keyring.control.name_key):
        assert repr(hidden) not in shown
        assert hidden.hex() not in shown
    stored = b"".join(store.get(name) for name, _ in store.list(""))
    for hidden in (keys.name_key, *keys.sealing_keys.values(), keyring.control.name_key, WORDS.text.encode()):
        assert hidden not in stored
        assert hidden.hex().encode() not in stored
