"""Following a restore over its events, whatever becomes of the connection."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from restead.cli import waiting
from restead.cli.client import Client
from restead.cli.following import follow
from restead.cli.restore_actions import bytes_per_second
from restead.domain.errors import NotFound, Unavailable

END = {"id": 9, "kind": "end", "subject": "r1"}


class Service(Client):
    """A service whose streams are scripted: each a list of events, which an error may break."""

    def __init__(self, *streams: list[dict[str, Any] | Exception]) -> None:
        self.streams = list(streams)
        self.asked: list[int] = []

    def stream(self, path: str, after: int) -> Iterator[dict[str, Any]]:
        assert path == "/restores/r1/events"
        self.asked.append(after)
        for event in self.streams.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        return {"restore": {"id": "r1", "status": "success", "progress": 100}}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_PAUSES", (0.0,))


def _told(*kinds: str) -> list[dict[str, Any] | Exception]:
    return [{"id": number + 1, "kind": kind, "subject": ""} for number, kind in enumerate(kinds)]


def test_a_stream_that_breaks_is_taken_up_behind_the_last_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that the service ends before the story does; people hear of a break once."""
    events = _told("accepted", "stopping", "comparing", "writing")
    service = Service([*events[:2], Unavailable("gone")], [Unavailable("gone")], events[2:3], [], [events[3], END])
    told = list(waiting.restore_events(service, "r1"))
    assert [event["kind"] for event in told] == ["accepted", "stopping", "comparing", "writing", "end"]
    assert service.asked == [0, 2, 2, 3, 3]
    assert capsys.readouterr().err == "restead: gone; still waiting\n"


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_PATIENCE", 0.0)
    with pytest.raises(Unavailable):
        list(waiting.restore_events(Service([Unavailable("gone")], [Unavailable("gone")]), "r1"))


def test_what_is_not_there_is_not_waited_for() -> None:
    with pytest.raises(NotFound):
        list(waiting.restore_events(Service([NotFound("no such restore")]), "r1"))


def test_phases_are_shown_in_the_words_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress within a phase does not change its name."""
    progress = {"id": 5, "kind": "progress", "percent": 40, "bytes_per_second": 7, "seconds_left": 3}
    story = [*_told("accepted", "comparing", "writing"), progress, {"id": 6, "kind": "putting_back"}, END]
    found = follow(Service(story), {"id": "r1", "status": "in_progress"}, "restoring web-1", as_json=True)
    assert found["status"] == "success"
    assert capsys.readouterr().out.splitlines() == [
        '{"progress": 0, "bytes_per_second": 0, "seconds_left": null, "phase": "accepted"}',
        '{"progress": 0, "bytes_per_second": 0, "seconds_left": null, "phase": "comparing"}',
        '{"progress": 0, "bytes_per_second": 0, "seconds_left": null, "phase": "writing"}',
        '{"progress": 40, "bytes_per_second": 7, "seconds_left": 3, "phase": "writing"}',
        '{"progress": 40, "bytes_per_second": 0, "seconds_left": null, "phase": "putting back"}',
        '{"progress": 100, "bytes_per_second": 0, "seconds_left": null, "phase": "putting back"}',
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [("50000000", 50_000_000), ("50M", 50 << 20), ("1.5G", 3 << 29), ("64 KiB/s", 64 << 10), ("none", 0), ("0", 0)],
)
def test_rates_are_read_as_people_write_them(text: str, meant: int) -> None:
    assert bytes_per_second(text) == meant


@pytest.mark.parametrize("text", ["", "fast", "-1", "1X", "1e9", "M"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        bytes_per_second(text)
