"""The story of a restore as a stream of events."""

import threading
import time
from typing import Any

import pytest
from tests.api.front import OTHER, PROJECT, Front

from restead.api import restore_events
from restead.domain.caller import Role
from restead.domain.ids import RestoreId, RunId
from restead.domain.run import Told
from restead.domain.states import Event
from restead.records import events, restores


class Story:
    """A restore whose story the test tells."""

    def __init__(self, front: Front) -> None:
        self.front = front
        server = front.server()
        answer = front.post("/restores", front.restore_body(front.backup_of(server), server))
        self.id: str = answer.json["restore"]["id"]
        with front.records.read() as tx:
            self.run: RunId = restores.restore(tx, PROJECT, RestoreId(self.id)).run_id

    def tell(self, kind: Told, subject: str = "", **numbers: object) -> None:
        with self.front.records.begin() as tx:
            events.add(tx, self.run, kind, subject, **numbers)

    def end(self) -> None:
        self.tell(Told.END, self.id, status="success")
        self.front.finish_restore(self.id, Event.RESTORED)

    def follow(self, **options: Any) -> list[dict[str, Any]]:
        answer = self.front.get(f"/restores/{self.id}/events", **options)
        assert answer.status == 200, answer.content
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return answer.events


@pytest.fixture
def story(front: Front) -> Story:
    return Story(front)


def _after(id: int) -> dict[str, object]:
    return {"headers": [("last-event-id", str(id))]}


def test_what_has_happened_is_told_from_the_beginning_to_the_end(story: Story) -> None:
    story.tell(Told.COMPARING, story.id)
    story.tell(Told.PROGRESS, story.id, percent=63, bytes_per_second=17, seconds_left=None)
    story.tell(Told.PUTTING_BACK, "ee27", reason="diskö \n damaged\nid: 99")
    story.end()
    told = story.follow()
    assert [event["kind"] for event in told] == ["accepted", "comparing", "progress", "putting_back", "end"]
    assert [event["id"] for event in told] == sorted({event["id"] for event in told})
    assert tuple(told[2][name] for name in ("percent", "bytes_per_second", "seconds_left")) == (63, 17, None)
    assert (told[3]["subject"], told[3]["reason"]) == ("ee27", "diskö \n damaged\nid: 99")


def test_what_happens_meanwhile_is_told_as_it_happens(story: Story) -> None:
    """The stream stays open until the end is told."""

    def tell() -> None:
        for kind in (Told.STOPPING, Told.WRITING, Told.PROVING):
            time.sleep(0.3)
            story.tell(kind, story.id)
        story.end()

    teller = threading.Thread(target=tell)
    teller.start()
    told = story.follow()
    teller.join()
    assert [event["kind"] for event in told] == ["accepted", "stopping", "writing", "proving", "end"]


def test_whoever_reconnects_gets_what_he_missed_and_nothing_twice(story: Story) -> None:
    story.tell(Told.STOPPING)
    story.tell(Told.WRITING)
    story.end()
    all_of_it = story.follow()
    for number, event in enumerate(all_of_it[:-1]):
        assert all_of_it[number + 1 :] == story.follow(**_after(event["id"]))


def test_whoever_reconnects_after_the_end_is_told_the_end_again(story: Story) -> None:
    """A stream always ends with `end`, so nobody waits for what has happened."""
    story.end()
    last = story.follow()[-1]
    assert [last] == story.follow(**_after(last["id"]))
    assert story.follow(**_after(last["id"] + 1000)) == []


def test_a_long_story_is_told_whole(story: Story) -> None:
    with story.front.records.begin() as tx:
        for percent in range(2500):
            events.add(tx, story.run, Told.PROGRESS, story.id, percent=percent)
    story.end()
    told = story.follow()
    assert [event["percent"] for event in told[1:-1]] == list(range(2500))


def test_a_stream_ends_when_the_service_does(story: Story) -> None:
    story.front.app.state.ending = True
    assert [event["kind"] for event in story.follow()] == ["accepted"]


def test_who_comes_when_too_many_follow_is_told_to_come_again(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps a connection for minutes, and who may only look can open many: some are left for everybody else."""
    monkeypatch.setattr(restore_events, "MOST", 2)
    for _ in range(2):  # whoever has gone makes room
        threading.Timer(0.3, lambda: setattr(story.front.app.state, "ending", True)).start()
        answers = story.front.at_once([("GET", f"/restores/{story.id}/events", {})] * 5)
        assert sorted(answer.status for answer in answers) == [200, 200, 503, 503, 503]
        refused = next(answer for answer in answers if answer.status == 503)
        assert "2 callers follow restores already" in refused.message
        assert int(refused.headers["retry-after"]) > 0
        story.front.app.state.ending = False


def test_many_who_follow_look_no_more_often_than_a_few() -> None:
    """250 that looked four times a second each had every other request wait for two seconds."""
    looks = [followers / restore_events.pause(followers) for followers in (1, 64, 65, restore_events.MOST)]
    assert looks == [4, 256, 256, 256]


def test_head_does_not_wait_for_the_end(story: Story) -> None:
    answer = story.front.call("HEAD", f"/restores/{story.id}/events", check=False)
    assert (answer.status, answer.content) == (200, b"")


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 19, "٣"])
def test_a_last_event_that_is_none_is_refused(story: Story, value: str) -> None:
    path = f"/restores/{story.id}/events"
    answer = story.front.get(path, headers=[("last-event-id", value.encode().decode("latin-1"))])
    assert (answer.status, answer.code) == (400, "CSBS.9001")


def test_only_who_may_see_the_restore_may_follow_it(story: Story) -> None:
    path = f"/restores/{story.id}/events"
    theirs = story.front.get(path, project=OTHER, token=story.front.token_of(Role.MEMBER, OTHER))
    assert (theirs.status, theirs.code) == (404, "CSBS.6040")
    assert story.front.get("/restores/nothing/events").code == "CSBS.6040"
    assert story.front.get(path, token=None).status == 401
    story.end()
    assert story.front.get(path, token=story.front.token_of(Role.READER)).status == 200
