"""Which disk goes to which, when the command line does not say everything."""

from typing import Any

import pytest
import typer

from restead.cli.restore import _disk_for, _given
from restead.cli.waiting import states
from restead.domain.errors import InvalidRequest, Unavailable

SYSTEM = {"id": "b1", "source_volume_id": "v1", "source_volume_name": "system", "bootable": True}
DATA = {"id": "b2", "source_volume_id": "v2", "source_volume_name": "data", "bootable": False}
BACKUP = {"resource_id": "s1"}


def _server(id: str, *volumes: tuple[str, str, bool]) -> dict[str, Any]:
    return {
        "id": id,
        "name": f"server {id}",
        "volumes": [{"id": volume, "name": name, "bootable": bootable} for volume, name, bootable in volumes],
    }


def test_on_the_same_server_each_goes_where_it_came_from() -> None:
    """By the disk's id, whatever it is called now."""
    server = _server("s1", ("v2", "system", False), ("v1", "other", True))
    assert [_disk_for(each, BACKUP, server)["id"] for each in (SYSTEM, DATA)] == ["v1", "v2"]


def test_on_another_server_boot_disk_to_boot_disk_and_names_to_names() -> None:
    server = _server("s2", ("w2", "data", False), ("w1", "root", True))
    assert [_disk_for(each, BACKUP, server)["id"] for each in (SYSTEM, DATA)] == ["w1", "w2"]


@pytest.mark.parametrize(
    "server",
    [
        _server("s1", ("v1", "system", True)),  # its disk is not attached any more
        _server("s2", ("w1", "root", True), ("w2", "other", False)),  # no disk of that name
        _server("s2", ("w1", "root", True), ("w2", "data", False), ("w3", "data", False)),  # two of that name
    ],
)
def test_nothing_is_guessed(server: dict[str, Any]) -> None:
    """A wrong guess overwrites a disk."""
    with pytest.raises(InvalidRequest, match="--map data=DISK"):
        _disk_for(DATA, BACKUP, server)


def test_a_mapping_names_disks_by_id_or_name() -> None:
    server = _server("s2", ("w1", "root", True), ("w2", "data", False))
    for text in ("b2=w2", "v2=data", "data=w2"):
        assert _given(text, [SYSTEM, DATA], server) == (DATA, server["volumes"][1])


def test_a_mapping_that_names_nothing_is_refused_and_says_what_there_is() -> None:
    server = _server("s2", ("w1", "root", True))
    with pytest.raises(InvalidRequest, match="the backup has no disk logs; it has system, data"):
        _given("logs=root", [SYSTEM, DATA], server)
    with pytest.raises(InvalidRequest, match="server server s2 has no disk data; it has root"):
        _given("data=data", [SYSTEM, DATA], server)
    with pytest.raises(typer.BadParameter):
        _given("data", [SYSTEM, DATA], server)


def test_waiting_survives_a_restart_of_the_service() -> None:
    """A service that does not answer for a while is asked again; what it tells then counts."""
    answers: list[dict[str, Any] | Unavailable] = [
        {"status": "in_progress", "n": 1}, Unavailable("gone"), Unavailable("gone"), {"status": "success", "n": 2},
    ]  # fmt: skip

    def look() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    assert [found["n"] for found in states(look, lambda each: each["status"] == "in_progress")] == [1, 2]
