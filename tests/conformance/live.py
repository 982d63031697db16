"""What every implementation of `Volumes` does that reads the disks of running servers.

Subclass, and give a fixture `cloud` (see cloud.py) whose servers boot the small guest of `tests/lab`.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from tests.conformance.cloud import MIB, PROJECT, Cloud
from tests.conformance.servers import SHORT, status
from tests.conformance.volumes import PoweredVolumesSuite, assert_extents_are_true, read, target_of
from tests.lab.microguest import MODE_AT, SEQUENCE_AT

from restead.domain.errors import Unavailable
from restead.domain.server import Server, ServerStatus
from restead.ports import Consistency, Moment, PausesGuest
from restead.workflows.pace import PacedSource
from restead.workflows.throttle import Throttle

SIZES = (4 * MIB, 2 * MIB)


@contextmanager
def moment_of(cloud: Cloud, server: Server) -> Iterator[Moment]:
    with cloud.volumes.open_moment(PROJECT, server.id, [volume.id for volume in server.volumes]) as moment:
        yield moment


def running(cloud: Cloud, mode: str) -> Server:
    """Start a server whose guest idles (H) or writes to both disks in turn (W); return when it is at it."""
    server = cloud.make(SIZES, boots=True)
    with target_of(cloud, server) as target:
        target.write_at(MODE_AT, mode.encode())
        target.flush()
    cloud.servers.start(PROJECT, server.id)
    if mode == "W":
        await_(lambda: sequences(cloud, server)[0] > 3)
    return server


def sequences(cloud: Cloud, server: Server) -> tuple[int, int]:
    """Return the numbers that the guest wrote to its system disk and its data disk, as a moment shows them."""
    with moment_of(cloud, server) as moment:
        return sequences_in(server, moment)


def sequences_in(server: Server, moment: Moment) -> tuple[int, int]:
    system, data = (read(moment.sources[volume.id], SEQUENCE_AT, 4) for volume in server.volumes)
    return int.from_bytes(system, "little"), int.from_bytes(data, "little")


def disks_in(server: Server, moment: Moment) -> Sequence[bytes]:
    return [read(moment.sources[volume.id]) for volume in server.volumes]


class _Slowed:
    """A moment that is read as fast as a throttle lets it be."""

    def __init__(self, moment: Moment, throttle: Throttle) -> None:
        self.sources = {id: PacedSource(source, lambda length: throttle.take(length, lambda: None))
                        for id, source in moment.sources.items()}  # fmt: skip


def _slowly(
    look: Callable[[Server, Moment], Sequence[bytes]], server: Server, moment: Moment
) -> Sequence[bytes]:
    """Look at a moment through a throttle that is lifted after the guest has written some hundred times."""
    throttle, found = Throttle(), list[bytes]()
    throttle.set(1)
    slowed = cast(Moment, _Slowed(moment, throttle))
    reading = threading.Thread(target=lambda: found.extend(look(server, slowed)))
    reading.start()
    reading.join(0.3)
    assert reading.is_alive()
    throttle.set(None)
    reading.join(120)
    return found


def await_(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


class LiveSuite:
    def test_a_running_server_shows_a_moment_and_runs_on(self, cloud: Cloud) -> None:
        server = running(cloud, "H")
        with moment_of(cloud, server) as moment:
            assert moment.consistency in (Consistency.CRASH, Consistency.FILESYSTEM)
            assert timedelta(0) <= datetime.now(UTC) - moment.taken_at < timedelta(minutes=1)
            assert list(SIZES) == [moment.sources[volume.id].size for volume in server.volumes]
            assert isinstance(moment, PausesGuest)
            assert timedelta(0) <= moment.pause < timedelta(minutes=1)
        assert status(cloud, server) is ServerStatus.RUNNING

    def test_a_moment_stays_what_it_was_whatever_the_guest_writes(self, cloud: Cloud) -> None:
        """Also if whoever reads it has to wait."""
        server = running(cloud, "W")
        with moment_of(cloud, server) as moment:
            first, numbers = disks_in(server, moment), sequences_in(server, moment)
            for source, holds in zip(moment.sources.values(), first, strict=True):
                assert_extents_are_true(source, holds, 0, source.size)
            assert first == _slowly(disks_in, server, moment)
        await_(lambda: sequences(cloud, server) > numbers)

    def test_every_moment_is_one_of_all_disks(self, cloud: Cloud) -> None:
        """The guest writes a number to the data disk, then the same to the system disk."""
        server, seen = running(cloud, "W"), []
        while len(seen) < 8 or len(set(seen)) == 1:
            system, data = sequences(cloud, server)
            assert system <= data <= system + 1
            seen.append(data)
        assert seen == sorted(seen)

    def test_a_moment_that_breaks_off_leaves_the_server_as_it_was(self, cloud: Cloud) -> None:
        server = running(cloud, "W")
        for _ in range(3):
            with pytest.raises(KeyError), moment_of(cloud, server):
                raise KeyError("the story broke off")
            assert status(cloud, server) is ServerStatus.RUNNING
        numbers = sequences(cloud, server)
        await_(lambda: sequences(cloud, server) > numbers)

    def test_a_server_that_is_stopped_takes_its_moment_along(self, cloud: Cloud) -> None:
        """It is said, and neither the server nor its disks are any the worse for it."""
        server = running(cloud, "W")
        with moment_of(cloud, server) as moment:
            cloud.servers.stop(PROJECT, server.id, grace=SHORT)
            with pytest.raises(Unavailable, match=server.id):
                disks_in(server, moment)
        with moment_of(cloud, server) as moment:
            assert moment.consistency is Consistency.OFFLINE
            system, data = sequences_in(server, moment)
            assert system <= data <= system + 1
        cloud.servers.start(PROJECT, server.id)
        await_(lambda: sequences(cloud, server)[0] > system)


class LiveVolumesSuite(LiveSuite, PoweredVolumesSuite):
    """All that a cloud's `Volumes` do whose running servers can be read."""
