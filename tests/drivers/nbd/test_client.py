"""The NBD client against a server that lies: an error that names the place, at once, and never wrong bytes."""

import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.drivers.nbd.server import (
    FLUSH,
    STATUS,
    TRIM,
    WRITE,
    ZEROES,
    Asked,
    Gone,
    LyingServer,
    option_reply,
    serving,
)

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.drivers.nbd import NbdClient

MIB = 1 << 20
SIZE = 4 * MIB
Lie = Callable[[LyingServer, Asked], bool]


@contextmanager
def client_of(
    content: bytearray, lie: Lie | None = None, *, limit: float = 20.0, **more: object
) -> Iterator[tuple[NbdClient, LyingServer]]:
    with serving(content, lie, **more) as place:
        client = NbdClient(place.sock, "disk d1", limit=limit)
        try:
            yield client, place.server
        finally:
            client.close()


def read(client: NbdClient, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    client.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def content(seed: int = 1, size: int = SIZE) -> bytearray:
    return bytearray(random.Random(seed).randbytes(size))


# ------------------------------------------------------------------ the truth


def test_what_is_written_is_read_whatever_its_length() -> None:
    model, chance = content(), random.Random(2)
    with client_of(bytearray(model)) as (client, server):
        for _ in range(40):
            offset = chance.randrange(SIZE)
            length = min(chance.choice([0, 1, 512, 70_000, 3 * MIB]), SIZE - offset)
            if chance.random() < 0.5:
                data = chance.randbytes(length)
                client.write_at(offset, data)
                model[offset : offset + length] = data
            else:
                client.zero_at(offset, length, keep_space=chance.random() < 0.5)
                model[offset : offset + length] = bytes(length)
            assert read(client, offset, length) == model[offset : offset + length]
        client.flush()
        assert (client.size, client.read_only) == (SIZE, False)
    assert server.content == model


def test_many_threads_share_one_connection() -> None:
    model, errors = content(), []
    with client_of(bytearray(SIZE)) as (client, server):

        def work(number: int) -> None:
            try:
                for at in range(number * 10_000, SIZE, 80_000):
                    part = bytes(model[at : at + 10_000])
                    client.write_at(at, part)
                    assert read(client, at, len(part)) == part
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert server.content == model


def test_answers_may_come_in_any_order_and_in_pieces() -> None:
    """The server waits for four requests and answers the last first, each in pieces and holes in odd order."""
    held: list[Asked] = []
    model = content()
    model[MIB : MIB + 4096] = bytes(4096)

    def lie(server: LyingServer, asked: Asked) -> bool:
        held.append(asked)
        if len(held) < 4:
            return True
        while held:
            last = held.pop()
            middle = last.offset + last.length // 2
            server.data(last.cookie, middle, bytes(model[middle : last.offset + last.length]), flags=0)
            if not any(model[last.offset : last.offset + 4096]):
                server.hole(last.cookie, last.offset, 4096, flags=0)
                server.data(last.cookie, last.offset + 4096, bytes(model[last.offset + 4096 : middle]), flags=0)
            else:
                server.data(last.cookie, last.offset, bytes(model[last.offset : middle]), flags=0)
            server.chunk(last.cookie, 0)
        return True

    with client_of(model, lie) as (client, _):
        buffer = bytearray(b"\xff" * SIZE)
        client.read_into(0, memoryview(buffer))
        assert buffer == model


def test_extents_are_joined_cut_to_what_was_asked_and_go_on_where_the_server_stopped() -> None:
    def lie(server: LyingServer, asked: Asked) -> bool:
        if asked.command != STATUS:
            return False
        if asked.offset == 0:
            server.extents(asked.cookie, (1000, 3), (1000, 2), (500, 0))
        else:
            server.extents(asked.cookie, (1 << 31, 1))  # a hole that may hold data, and far beyond the end
        return True

    with client_of(bytearray(SIZE), lie) as (client, _):
        assert list(client.extents(0, 5000)) == [Extent(0, 2000, data=False), Extent(2000, 3000, data=True)]
        assert list(client.extents(7, 0)) == []


def test_without_block_status_all_may_be_data() -> None:
    refuse = option_reply(10, (1 << 31) + 1, b"no such thing")
    with client_of(bytearray(SIZE), options={10: refuse}) as (client, _):
        assert list(client.extents(0, 5000)) == [Extent(0, 5000, data=True)]


def test_a_server_without_the_finer_commands_is_served_plainly() -> None:
    """No FUA: a flush instead.  No WRITE_ZEROES: zeroes are written.  No TRIM: nothing is done.  No FLUSH: an error."""
    with client_of(content(), flags=1 | 4) as (client, server):
        client.write_at(0, b"x", fua=True)
        client.zero_at(100, 2 * MIB)
        client.trim_at(0, SIZE)
        assert {asked.command for asked in server.asked} == {WRITE, FLUSH}
        assert server.content[100 : 100 + 2 * MIB] == bytes(2 * MIB)
    with client_of(content(), flags=1 | 2) as (client, _):
        assert client.read_only
        with pytest.raises(Unavailable, match=r"disk d1.*stable storage"):
            client.flush()


def test_flags_are_sent_as_they_are_meant() -> None:
    with client_of(content()) as (client, server):
        client.write_at(0, b"x", fua=True)
        client.zero_at(0, 10)
        client.zero_at(0, 10, keep_space=True)
        client.trim_at(0, 10)
    sent = [(asked.command, asked.flags) for asked in server.asked[:4]]
    assert sent == [(WRITE, 1), (ZEROES, 0), (ZEROES, 2), (TRIM, 0)]


def test_nothing_beyond_the_end_is_asked_for() -> None:
    with client_of(bytearray(SIZE)) as (client, server):
        for wrong in (
            lambda: read(client, SIZE, 1),
            lambda: client.write_at(SIZE - 1, b"xx"),
            lambda: client.zero_at(-1, 1),
            lambda: list(client.extents(0, SIZE + 1)),
        ):
            with pytest.raises(ValueError, match=str(SIZE)):
                wrong()
        assert server.asked == []


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("number", "text"), [(5, "Input/output error"), (28, "No space left on device"), (4711, "error 4711")]
)
def test_an_error_names_disk_deed_and_place_and_the_connection_lives(number: int, text: str) -> None:
    def lie(server: LyingServer, asked: Asked) -> bool:
        if asked.offset != 2 * MIB:
            return False
        server.error(asked.cookie, number, b"words\x1b[31m of the server")
        return True

    with client_of(content(), lie) as (client, server):
        for deed, do in (
            ("read", lambda: read(client, MIB, 3 * MIB)),
            ("write", lambda: client.write_at(2 * MIB, b"x" * MIB)),
            ("zeroing", lambda: client.zero_at(2 * MIB, MIB)),
            ("search for data", lambda: list(client.extents(2 * MIB, MIB))),
        ):
            with pytest.raises(Unavailable) as raised:
                do()
            assert raised.value.message == f"disk d1: {deed} of {MIB} bytes at {2 * MIB}: {text}"
            assert raised.value.detail == "words?[31m of the server"
        assert read(client, 0, 100) == server.content[:100]


def test_an_error_after_data_is_an_error() -> None:
    def lie(server: LyingServer, asked: Asked) -> bool:
        server.data(asked.cookie, asked.offset, bytes(asked.length), flags=0)
        server.chunk(asked.cookie, 0x8002, struct.pack(">IHQ", 5, 0, asked.offset))
        return True

    with client_of(content(), lie) as (client, _), pytest.raises(Unavailable, match="read of 10 bytes at 0: Input"):
        read(client, 0, 10)


def test_a_failed_flush_is_an_error() -> None:
    def lie(server: LyingServer, asked: Asked) -> bool:
        server.simple(asked.cookie, 5)
        return True

    with client_of(content(), lie) as (client, _), pytest.raises(Unavailable, match="disk d1: flush: Input"):
        client.flush()


# ------------------------------------------------------------------ lies



def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


LIES: dict[str, Lie] = {
    "another cookie": lambda s, a: s.data(a.cookie + 1000, a.offset, bytes(a.length)) or True,
    "a cookie twice": lambda s, a: [s.data(a.cookie, a.offset, bytes(a.length)) for _ in "12"] != [],
    "a magic that is none": lambda s, a: s.say(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(64)) or True,
    "too little": lambda s, a: s.data(a.cookie, a.offset, bytes(a.length - 1)) or True,
    "nothing at all": lambda s, a: s.chunk(a.cookie, 0) or True,
    "too much": lambda s, a: s.data(a.cookie, a.offset, bytes(a.length + 1)) or True,
    "before what was asked for": lambda s, a: s.data(a.cookie, a.offset - 1, bytes(a.length)) or True,
    "behind what was asked for": lambda s, a: s.data(a.cookie, a.offset + 1, bytes(a.length)) or True,
    "the same twice": lambda s, a: (
        s.data(a.cookie, a.offset, bytes(a.length), 0) or s.data(a.cookie, a.offset, bytes(a.length)) or True
    ),
    "parts that overlap": lambda s, a: (
        s.data(a.cookie, a.offset, bytes(a.length - 5), 0) or s.hole(a.cookie, a.offset + a.length - 10, 10) or True
    ),
    "an empty part": lambda s, a: s.data(a.cookie, a.offset, b"") or True,
    "an empty hole": lambda s, a: s.hole(a.cookie, a.offset, 0) or True,
    "a hole of 4 GiB": lambda s, a: s.hole(a.cookie, a.offset, (1 << 32) - 1) or True,
    "a chunk of 4 GiB": lambda s, a: s.chunk(a.cookie, 1, bytes(100), length=(1 << 32) - 1) or True,
    "a hole of odd shape": lambda s, a: s.chunk(a.cookie, 2, bytes(13)) or True,
    "a kind that is none": lambda s, a: s.chunk(a.cookie, 6, bytes(100)) or True,
    "a flag that is none": lambda s, a: s.data(a.cookie, a.offset, bytes(a.length), flags=3) or True,
    "no end of nothing": lambda s, a: s.chunk(a.cookie, 0, flags=0) or True,
    "a simple reply to a read": lambda s, a: s.simple(a.cookie) or True,
    "extents to a read": lambda s, a: s.extents(a.cookie, (a.length, 3)) or True,
    "an error that is none": lambda s, a: s.error(a.cookie, 0) or True,
    "an error longer than its chunk": lambda s, a: s.chunk(a.cookie, 0x8001, struct.pack(">IH", 5, 900)) or True,
    "an error of 4 GiB": lambda s, a: s.chunk(a.cookie, 0x8001, bytes(100), length=(1 << 32) - 1) or True,
    "a thousand parts": lambda s, a: (
        [s.data(a.cookie, at, b"x", 0) for at in range(a.offset, a.offset + a.length, 2)] != []
    ),
}


def _break_off(server: LyingServer, asked: Asked) -> bool:
    server.chunk(asked.cookie, 1, bytes(50), length=asked.length + 8)
    raise Gone


LIES["the end in the middle"] = _break_off


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_about_a_read_is_an_error_and_the_end_of_the_connection(lie: Lie) -> None:
    """Nothing that comes later is believed either; the buffer's neighbours are untouched."""
    told: list[int] = []

    def once(server: LyingServer, asked: Asked) -> bool:
        told.append(asked.cookie)
        return lie(server, asked) if len(told) == 1 else False

    with client_of(content(), once) as (client, _):
        memory = bytearray(b"\xee" * 3000)
        if lie is LIES["a cookie twice"]:  # it is answered, then comes the lie
            client.read_into(1000, memoryview(memory)[1000:2000])
            assert bytes(1000) == memory[1000:2000]
            _wait_for(lambda: bool(client.broken))
        else:
            with pytest.raises(Unavailable, match="disk d1: read of 1000 bytes at 1000"):
                client.read_into(1000, memoryview(memory)[1000:2000])
        assert (memory[:1000], memory[2000:]) == (b"\xee" * 1000, b"\xee" * 1000)
        with pytest.raises(Unavailable, match="disk d1"):
            read(client, 0, 10)
        with pytest.raises(Unavailable, match="disk d1: flush"):
            client.flush()


STATUS_LIES: dict[str, Lie] = {
    "nothing": lambda s, a: s.chunk(a.cookie, 0) or True,
    "a stretch of no length": lambda s, a: s.extents(a.cookie, (0, 0), (5000, 0)) or True,
    "another context": lambda s, a: s.extents(a.cookie, (5000, 3), context=8) or True,
    "twice": lambda s, a: s.extents(a.cookie, (10, 3), flags=0) or s.extents(a.cookie, (5000, 3)) or True,
    "an odd shape": lambda s, a: s.chunk(a.cookie, 5, bytes(15)) or True,
    "too many": lambda s, a: s.chunk(a.cookie, 5, bytes(16), length=4 + 8 * ((1 << 17) + 1)) or True,
    "data": lambda s, a: s.data(a.cookie, a.offset, bytes(a.length)) or True,
    "a simple reply": lambda s, a: s.simple(a.cookie) or True,
}


@pytest.mark.parametrize("lie", STATUS_LIES.values(), ids=STATUS_LIES)
def test_a_lie_about_extents_is_an_error(lie: Lie) -> None:
    with client_of(content(), lie) as (client, _), pytest.raises(Unavailable, match="search for data of 5000 bytes"):
        list(client.extents(0, 5000))


@pytest.mark.parametrize("command", [WRITE, ZEROES, FLUSH])
def test_data_in_answer_to_what_reads_nothing_is_an_error(command: int) -> None:
    def lie(server: LyingServer, asked: Asked) -> bool:
        server.data(asked.cookie, asked.offset, b"x")
        return True

    with client_of(content(), lie) as (client, _), pytest.raises(Unavailable):
        {WRITE: lambda: client.write_at(0, b"x"), ZEROES: lambda: client.zero_at(0, 1), FLUSH: client.flush}[command]()


HANDSHAKES: dict[str, dict[str, object]] = {
    "HTTP": {"greeting": b"HTTP/1.1 400 Bad Request\r\n"},
    "oldstyle": {"greeting": struct.pack(">QQH", 0x4E42444D41474943, 0x00420281861253, 0)},
    "not fixed": {"greeting": struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 0)},
    "no structured replies": {"options": {8: option_reply(8, (1 << 31) + 1)}},
    "an answer to another option": {"options": {8: option_reply(7, 1)}},
    "another magic": {"options": {8: option_reply(8, 1, magic=1)}},
    "no such export": {"options": {7: option_reply(7, (1 << 31) + 6, b"unknown export")}},
    "no size": {"options": {7: option_reply(7, 1)}},
    "a size that is none": {"options": {7: option_reply(7, 3, struct.pack(">HQH", 0, 1 << 63, 1))}},
    "big blocks": {"options": {7: option_reply(7, 3, struct.pack(">HIII", 3, 512, 512, 1 << 20))}},
    "an option of 4 GiB": {"options": {7: struct.pack(">QIII", 0x3E889045565A9, 7, 3, (1 << 32) - 1)}},
    "replies without end": {"options": {7: option_reply(7, 3, struct.pack(">HH", 1, 1)) * 100}},
    "a context that nobody wants": {"options": {10: option_reply(10, 4, b"\0\0\0\1qemu:x") + option_reply(10, 1)}},
    "half an option": {"options": {7: b"\0\3"}},
}


@pytest.mark.parametrize("lies", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_server_that_does_not_speak_as_it_should_is_not_used(lies: dict[str, object]) -> None:
    with serving(content(), **lies) as place, pytest.raises(Unavailable, match="disk d1: its NBD server"):
        NbdClient(place.sock, "disk d1", greeting=0.3)


# ------------------------------------------------------------------ ends


def test_a_server_that_dies_fails_all_that_wait_at_once() -> None:
    """Eight threads wait for answers, for which they have hours; the server goes away."""
    arrived, errors = threading.Semaphore(0), []

    def lie(server: LyingServer, asked: Asked) -> bool:
        arrived.release()
        if len(server.asked) == 8:
            raise Gone
        return True

    with client_of(content(), lie, limit=3600) as (client, _):

        def work(number: int) -> None:
            try:
                read(client, number * 100, 100)
            except Unavailable as error:
                errors.append(error.message)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(errors) == sorted(
            f"disk d1: read of 100 bytes at {number * 100}: the connection was closed" for number in range(8)
        )
        assert client.broken


def test_an_answer_that_does_not_come_is_an_error_and_the_buffer_is_left_alone() -> None:
    """Also when it comes after all: the caller has got its memory back."""
    late: list[tuple[LyingServer, Asked]] = []

    def lie(server: LyingServer, asked: Asked) -> bool:
        late.append((server, asked))
        return True

    with client_of(content(), lie, limit=0.2) as (client, _):
        buffer = bytearray(100)
        with pytest.raises(Unavailable, match=r"read of 100 bytes at 0: no answer within 0.2 s"):
            client.read_into(0, memoryview(buffer))
        server, asked = late[0]
        with pytest.raises(OSError, match=r"Broken pipe|Bad file descriptor"):  # as fast as the server notices
            server.data(asked.cookie, 0, b"\xff" * 100)
        assert buffer == bytes(100)


def test_a_server_that_takes_nothing_is_an_error() -> None:
    """It answers nothing and reads nothing: what is to be written fills the socket and stops there."""
    go_on = threading.Event()

    def lie(server: LyingServer, asked: Asked) -> bool:
        go_on.wait(20)
        return True

    with client_of(content(), lie, limit=0.3) as (client, _):
        with pytest.raises(Unavailable, match=r"disk d1: write of 1048576 bytes at 0: (it takes nothing|no answer)"):
            client.write_at(0, bytes(SIZE))
        go_on.set()
