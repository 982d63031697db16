"""Page trees: positions in, one name out, whatever the order and the number of levels."""

import random
from datetime import UTC, datetime

import pytest

from restead.domain.errors import Damaged
from restead.repository.chunk import NAME_SIZE, ZERO, Names
from restead.repository.manifest import DiskDescription, Root
from restead.repository.tree import FANOUT, Tree, TreeBuilder, decode_page, encode_page, page_counts

NAMES = Names(bytes(range(32)))
ABOUT = DiskDescription("data", datetime(2026, 1, 1, tzinfo=UTC), "crash", {"ä": [1, None, True]})
CHUNK = 4096


def built(entries: dict[int, bytes], chunks: int, *, seed: int | None = None) -> tuple[Root, dict[bytes, bytes]]:
    """Build a tree with these non-zero entries, in disk order or a random one; return its root and pages."""
    pages: dict[bytes, bytes] = {}

    def keep(level: int, index: int, name: bytes, page: bytes) -> None:
        pages[name] = page

    builder = TreeBuilder(chunks, NAMES)
    busy = sorted({position // FANOUT for position in entries})
    pieces: list[tuple[int, int]] = []
    for leaf in range(page_counts(chunks)[0] if chunks else 0):
        if leaf in busy:
            end = min((leaf + 1) * FANOUT, chunks)
            pieces += [(at, min(8, end - at)) for at in range(leaf * FANOUT, end, 8)]
        else:
            pieces.append((-leaf - 1, 0))
    if seed is not None:
        random.Random(seed).shuffle(pieces)
    for first, count in pieces:
        if count:
            builder.put(first, b"".join(entries.get(first + n, ZERO) for n in range(count)), keep)
        else:
            builder.put_zero(-first - 1, 1, keep)
    return Root(chunks * CHUNK, CHUNK, builder.top, ABOUT), pages


def flat(tree: Tree, chunks: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    for stretch in tree.stretches():
        assert position == stretch.first
        position += stretch.count
        entries = stretch.entries or b""
        for at in range(0, len(entries), NAME_SIZE):
            if entries[at : at + NAME_SIZE] != ZERO:
                found[stretch.first * FANOUT + at // NAME_SIZE] = entries[at : at + NAME_SIZE]
    assert position == (page_counts(chunks)[0] if chunks else 0)
    return found


@pytest.mark.parametrize("chunks", [1, 2, 1023, 1024, 1025, 2048, 5000, 1024 * 1024, 1024 * 1024 + 1])
def test_a_tree_gives_back_every_entry(chunks: int) -> None:
    source = random.Random(chunks)
    entries = {source.randrange(chunks): source.randbytes(32) for _ in range(5)} | {chunks - 1: b"\7" * 32}
    root, pages = built(entries, chunks)
    tree = Tree(root, pages.__getitem__)
    assert entries == flat(tree, chunks)
    for position, name in entries.items():
        leaf, at = divmod(position, FANOUT)
        assert name == tree.leaf(leaf)[at * NAME_SIZE : (at + 1) * NAME_SIZE]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_entries_does_not_matter(seed: int) -> None:
    source = random.Random(seed)
    entries = {source.randrange(3000): source.randbytes(32) for _ in range(source.randrange(50))}
    assert built(entries, 3000) == built(entries, 3000, seed=seed)


def test_a_tree_of_zeroes_has_no_page_at_any_level() -> None:
    for chunks in (0, 1, 1024, 5_000_000):
        root, pages = built({}, chunks)
        assert (root.top, pages) == (ZERO, {})
        assert flat(Tree(root, pages.__getitem__), chunks) == {}


def test_equal_pages_are_one_page_wherever_they_stand() -> None:
    entries = {n: bytes([1]) * 32 for n in range(FANOUT)}
    both = entries | {n + 2 * FANOUT: name for n, name in entries.items()}
    assert len(built(both, 3 * FANOUT)[1]) == 2


def test_a_bit_of_any_entry_changes_the_top() -> None:
    entries = {n: random.Random(n).randbytes(32) for n in range(0, 3000, 100)}
    top = built(entries, 3000)[0].top
    for n, name in entries.items():
        changed = entries | {n: bytes([name[0] ^ 1]) + name[1:]}
        assert top != built(changed, 3000)[0].top
        moved = {**{k: v for k, v in entries.items() if k != n}, n + 1: name}
        assert top != built(moved, 3000)[0].top


def test_an_unfinished_tree_has_no_top() -> None:
    builder = TreeBuilder(2000, NAMES)
    builder.put(0, b"x" * 32 * 8, lambda *page: None)
    with pytest.raises(Damaged, match="not complete"):
        _ = builder.top


def test_a_position_that_is_given_twice_is_refused() -> None:
    builder = TreeBuilder(10, NAMES)
    builder.put(0, b"x" * 32 * 8, lambda *page: None)
    with pytest.raises(ValueError, match="more than its 10 entries"):
        builder.put(4, b"x" * 32 * 6, lambda *page: None)


def test_a_page_of_another_level_or_size_is_damaged_and_names_its_bytes_of_the_disk() -> None:
    entries = {n: random.Random(n).randbytes(32) for n in range(0, 3000, 100)}
    root, pages = built(entries, 3000)
    leaf = next(name for name, page in pages.items() if page[0] == 0)
    full, few, zero = b"x" * 32 * 1024, b"x" * 32 * 7, bytes(32 * 1024)
    for wrong in (encode_page(1, full), encode_page(0, few), b"", encode_page(0, zero)):
        with pytest.raises(Damaged) as caught:
            flat(Tree(root, {**pages, leaf: wrong}.__getitem__), 3000)
        ((offset, length),) = caught.value.ranges
        assert offset % (FANOUT * CHUNK) == 0
        assert length in {FANOUT * CHUNK, (3000 - 2048) * CHUNK}


def test_a_page_is_read_as_it_was_written() -> None:
    entries = random.Random(1).randbytes(32 * 9)
    assert entries == decode_page(encode_page(3, entries), 3, 9, "it")


def test_a_root_is_read_as_it_was_written_and_written_in_one_way() -> None:
    root = Root(2**63, CHUNK, b"t" * 32, ABOUT)
    assert root == Root.decode(root.encode(), "it")
    assert root.encode() == Root.decode(root.encode(), "it").encode()


@pytest.mark.parametrize("cut", [0, 10, 48, 60, -1])
def test_a_cut_root_is_damaged(cut: int) -> None:
    with pytest.raises(Damaged, match="root x"):
        Root.decode(Root(5, CHUNK, ZERO, ABOUT).encode()[:cut], "root x")
