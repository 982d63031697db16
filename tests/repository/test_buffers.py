"""Buffers: lent again and again, and never more than the bound."""

import itertools
import random
import threading
import time

from restead.repository.buffers import Aligned, Buffers


def test_what_was_returned_is_lent_again() -> None:
    buffers = Buffers(1 << 20, 1 << 20)
    with buffers.borrow(4096, 8192) as first:
        pass
    with buffers.borrow(8192, 4096) as second:
        assert set(map(id, first)) == set(map(id, second))


def test_no_more_is_lent_at_once_than_the_bound() -> None:
    buffers, used, most, lock = Buffers(10 * 4096, 0), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal used, most
        for _ in range(20):
            with buffers.borrow(2 * 4096, 4096):
                with lock:
                    used += 3
                    most = max(most, used)
                time.sleep(0.001)
                with lock:
                    used -= 3

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 9


def test_whoever_needs_more_than_the_bound_gets_it_alone() -> None:
    with Buffers(4096, 0).borrow(8192) as (one,):
        assert one.size == 8192


def test_runs_of_pieces_that_differ_are_found() -> None:
    for seed in range(200):
        luck = random.Random(seed)
        size = luck.choice([512, 4096, 10_000])
        one, other = Aligned(16_384), Aligned(16_384)
        one.view[:] = other.view[:] = luck.randbytes(16_384)
        start = luck.randrange(0, 5) * 512
        for _ in range(luck.randint(0, 5)):
            other.view[luck.randrange(16_384)] ^= 1
        stop = min(start + size, 16_384)
        pieces = [(at, slice(at, min(at + 512, stop))) for at in range(start, stop, 512)]
        expected = {at for at, piece in pieces if one.view[piece] != other.view[piece]}
        runs = list(one.unlike(other, start, stop, 512))
        assert {at for begin, end in runs for at in range(begin, end, 512)} == expected
        assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(runs))


def test_clearing_changes_nothing_else() -> None:
    one = Aligned(4096)
    one.view[:] = b"\1" * 4096
    one.clear(100, 50)
    assert bytes(one.view) == b"\1" * 100 + bytes(50) + b"\1" * 3946
