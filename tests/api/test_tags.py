"""Tags over HTTP, of backups and of policies alike; and the searches, held against the contract's sentences."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from tests.api.front import PROVIDER, Front
from tests.api.test_policies import made
from tests.records.older import set_back

from restead.domain.caller import Role
from restead.domain.ids import BackupId
from restead.domain.states import Event
from restead.records import backups
from restead.records.tables import tags as tag_rows

KINDS = ("csbs_backup", "csbs_backup_policy")


def subject(front: Front, kind: str, name: str = "one", tags: dict[str, str] | None = None) -> str:
    """Make something to be tagged; return the path of its tags."""
    sent = [{"key": key, "value": value} for key, value in (tags or {}).items()]
    more: dict[str, Any] = {"tags": sent} if sent else {}
    if kind == "csbs_backup":
        id = front.backup_of(front.server(name=name), backup_name=name, **more).id
    else:
        id = made(front, name=name, **more)["id"]
    return f"/{kind}/{id}/tags"


def tags_of(front: Front, path: str) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in front.get(path).json["tags"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tag_is_set_changed_and_removed(front: Front, kind: str) -> None:
    path = subject(front, kind, tags={"stage": "prod"})
    answer = front.post(path, {"tag": {"key": " tier ", "value": " web "}})
    assert (answer.status, answer.content) == (204, b"")
    assert tags_of(front, path) == {"stage": "prod", "tier": "web"}
    assert front.post(path, {"tag": {"key": "stage", "value": ""}}).status == 204
    assert tags_of(front, path) == {"stage": "", "tier": "web"}
    assert front.call("DELETE", f"{path}/stage").status == 204
    missing = front.call("DELETE", f"{path}/stage")
    assert (missing.status, missing.code) == (404, "CSBS.7001")
    assert tags_of(front, path) == {"tier": "web"}
    assert front.get(f"/{kind}/tags").json == {"tags": [{"key": "tier", "values": ["web"]}]}
    thing = path.split("/")[2]
    shown = front.get(f"/checkpoint_items/{thing}" if kind == KINDS[0] else f"/policies/{thing}").json
    assert next(iter(shown.values()))["tags"] == [{"key": "tier", "value": "web"}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_set_whole_or_not_at_all_and_removes_what_is_there(front: Front, kind: str) -> None:
    path = subject(front, kind, tags={f"k{n}": "v" for n in range(8)})

    def act(action: str, *tags: dict[str, str]) -> Any:
        return front.post(f"{path}/action", {"action": action, "tags": list(tags)})

    before = tags_of(front, path)
    too_many = act("create", *({"key": f"n{n}", "value": ""} for n in range(3)))
    assert (too_many.status, too_many.code) == (400, "CSBS.7000")
    assert tags_of(front, path) == before
    assert act("create", {"key": "a", "value": "1"}, {"key": "a", "value": "2"}).code == "CSBS.9001"
    assert act("create", {"key": "a b", "value": ""}).code == "CSBS.9001"
    assert act("create", {"key": "a"}).code == "CSBS.9001"
    assert act("create").code == "CSBS.9001"
    assert tags_of(front, path) == before
    assert act("create", {"key": "k0", "value": "w"}, {"key": "a", "value": "1"}).status == 204
    assert act("delete", {"key": "k1"}, {"key": "k2", "value": "v"}, {"key": "k3", "value": "other"},
               {"key": "no such key ü" + "x" * 100}).status == 204  # fmt: skip
    assert set(tags_of(front, path)) == {"k0", "a", "k3", "k4", "k5", "k6", "k7"}
    assert act("delete", {"key": "x" * 128}).code == "CSBS.9001"
    assert act("grow", {"key": "x", "value": ""}).code == "CSBS.9001"


@pytest.mark.parametrize(("kind", "code"), [(KINDS[0], "CSBS.3001"), (KINDS[1], "CSBS.3000")])
def test_what_is_not_there_and_what_is_anothers_is_404(front: Front, kind: str, code: str) -> None:
    path = subject(front, kind)
    other = {"token": front.token_of(Role.MEMBER, "another"), "project": "another"}
    for where, options in ((f"/{kind}/nothing/tags", {}), (path, other)):
        body = {"tag": {"key": "a", "value": ""}}
        batch = {"action": "delete", "tags": [{"key": "a"}]}
        for answer in (
            front.get(where, **options), front.post(where, body, **options),
            front.post(f"{where}/action", batch, **options), front.call("DELETE", f"{where}/a", **options),
        ):  # fmt: skip
            assert (answer.status, answer.code) == (404, code)
    reader = front.token_of(Role.READER)
    assert front.get(path, token=reader).status == 200
    assert front.post(f"/{kind}/resource_instances/action", {"action": "count"}, token=reader).status == 200
    assert front.post(path, {"tag": {"key": "a", "value": ""}}, token=reader).status == 403
    assert front.call("DELETE", f"{path}/a", token=reader).status == 403


def test_a_deleted_thing_is_found_no_more(front: Front) -> None:
    backup = subject(front, KINDS[0], tags={"a": "b"}).split("/")[2]
    policy = subject(front, KINDS[1], tags={"a": "b"}).split("/")[2]
    front.call("DELETE", f"/policies/{policy}")
    item = front.get(f"/checkpoint_items/{backup}").json["checkpoint_item"]
    front.call("DELETE", f"/providers/{PROVIDER}/checkpoints/{item['checkpoint_id']}")
    assert front.get(f"/{KINDS[0]}/tags").json["tags"], "as long as it is being deleted it is there"
    with front.records.begin() as tx:
        backups.move(tx, BackupId(backup), Event.DELETED)
        assert tx.connection.execute(sa.select(tag_rows)).all() == []
    for kind in KINDS:
        assert front.get(f"/{kind}/tags").json == {"tags": []}
        assert front.post(f"/{kind}/resource_instances/action", {"action": "count"}).json == {"total_count": 0}


# ------------------------------------------------------------------ searches

THINGS = {
    "web-1": {"stage": "prod", "tier": "web"},
    "web-2": {"stage": "test", "tier": "web"},
    "db-1": {"stage": "prod", "tier": "db", "old": ""},
    "Bare": {},
}


@pytest.fixture(scope="module")
def searched(shared_database: str) -> Iterator[Front]:
    front = Front(shared_database)
    for kind in KINDS:
        for name, tags in THINGS.items():
            subject(front, kind, name, tags)
    yield front
    front.close()


def _has(tags: dict[str, str], wanted: dict[str, Any]) -> bool:
    value = tags.get(wanted["key"])
    if value is None:
        return False
    return not wanted["values"] or any(
        each[1:] in value if each.startswith("*") else each == value for each in wanted["values"]
    )


def _expected(search: dict[str, Any]) -> list[str]:
    """CSBS, section 11, the table of conditions, once more."""
    found = []
    for name, tags in THINGS.items():
        good = all(_has(tags, each) for each in search.get("tags", []))
        good &= "tags_any" not in search or any(_has(tags, each) for each in search["tags_any"])
        good &= "not_tags" not in search or not all(_has(tags, each) for each in search["not_tags"])
        good &= not any(_has(tags, each) for each in search.get("not_tags_any", []))
        for match in search.get("matches", []):
            good &= match["value"] in name if match["value"] else not name
        found += [name] if good else []
    return found[::-1]


def _searches() -> list[dict[str, Any]]:
    rng = random.Random(7)
    found = []
    for _ in range(60):
        search: dict[str, Any] = {}
        for name in rng.sample(["tags", "tags_any", "not_tags", "not_tags_any"], rng.randint(0, 2)):
            keys = rng.sample(["stage", "tier", "old", "none"], rng.randint(1, 2))
            values = ["prod", "test", "web", "*e", "*", "", "*PROD", "Web"]
            search[name] = [{"key": key, "values": rng.sample(values, rng.randint(0, 2))} for key in keys]
        if rng.random() < 0.3:
            search["matches"] = [{"key": "resource_name", "value": rng.choice(["", "web", "-1", "bare", "B"])}]
        found.append(search)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_searches_find_what_the_contract_says(searched: Front, kind: str) -> None:
    path = f"/{kind}/resource_instances/action"
    sizes = set()
    for search in _searches():
        wanted = _expected(search)
        answer = searched.post(path, {"action": "filter", **search}).json
        assert [each["resource_name"] for each in answer["resources"]] == wanted, search
        assert answer["total_count"] == len(wanted)
        assert searched.post(path, {"action": "count", **search}).json == {"total_count": len(wanted)}
        sizes.add(len(wanted))
    assert sizes == {0, 1, 2, 3, 4}, "the searches tell things apart"


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_has_pages_and_whole_backups(searched: Front, kind: str) -> None:
    path = f"/{kind}/resource_instances/action"
    page = searched.post(path, {"action": "filter", "limit": "2", "offset": 1}).json
    assert [each["resource_name"] for each in page["resources"]] == ["db-1", "web-2"]
    assert page["total_count"] == 4
    for each in page["resources"]:
        detail = each["resource_detail"]
        assert detail == ({} if kind == KINDS[1] else searched.get(f"/checkpoint_items/{each['resource_id']}").json[
            "checkpoint_item"])  # fmt: skip
        assert {tag["key"]: tag["value"] for tag in each["tags"]} == THINGS[each["resource_name"]]
    assert searched.get(f"/{kind}/tags").json["tags"] == [
        {"key": "old", "values": [""]}, {"key": "stage", "values": ["prod", "test"]},
        {"key": "tier", "values": ["db", "web"]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "search",
    [{}, {"action": "find"}, {"action": "filter", "limit": 0}, {"action": "filter", "limit": 1001},
     {"action": "filter", "offset": -1}, {"action": "filter", "tags": []},
     {"action": "filter", "tags": [{"key": "a", "values": []}] * 2}, {"action": "filter", "tags": [{"key": "a"}]},
     {"action": "filter", "tags": [{"key": "a", "values": ["x"] * 11}]},
     {"action": "filter", "tags": [{"key": f"k{n}", "values": []} for n in range(11)]},
     {"action": "count", "matches": [{"key": "name", "value": "x"}]},
     {"action": "count", "matches": [{"key": "resource_name", "value": "x"}] * 2}],
)  # fmt: skip
def test_a_search_that_is_none_is_refused(searched: Front, search: dict[str, Any]) -> None:
    answer = searched.post(f"/{KINDS[0]}/resource_instances/action", search)
    assert (answer.status, answer.code) == (400, "CSBS.9001")


def test_tags_that_were_there_before_are_found_after_an_upgrade(front: Front) -> None:
    """The migration fills what is searched from the rows."""
    subject(front, KINDS[0], tags={"stage": "prod"})
    subject(front, KINDS[1], tags={"tier": "web"})
    with front.records.begin() as tx:
        set_back(tx, "listing")
    front.records.migrate()
    assert front.get(f"/{KINDS[0]}/tags").json["tags"] == [{"key": "stage", "values": ["prod"]}]
    assert front.get(f"/{KINDS[1]}/tags").json["tags"] == [{"key": "tier", "values": ["web"]}]


def test_replication_is_not_supported_and_says_so(shared_front: Front) -> None:
    assert shared_front.get("/replication_capabilities").json == {"regions": []}
    for path in ("checkpoints/replicate", "checkpoint_items/x/replicate"):
        answer = shared_front.post(f"/providers/{PROVIDER}/{path}", {})
        assert (answer.status, answer.code) == (500, "CSBS.9998")
        assert shared_front.post(f"/providers/x/{path}", {}).code == "CSBS.9001"
        assert shared_front.post(f"/providers/{PROVIDER}/{path}", {}, token=None).status == 401
