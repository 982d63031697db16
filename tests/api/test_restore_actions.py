"""What can be asked about restores besides doing them: plans, cancelling, undoing, throttling."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from tests.api.front import MIB, OTHER, PROJECT, Answer, Front

from restead.domain.caller import DEFAULT_RIGHTS, Action, Caller, Role
from restead.domain.ids import ManifestId, RestoreId
from restead.domain.restore import Comparison
from restead.domain.server import Server, ServerStatus
from restead.domain.verification import DamagedDisk, Depth, Verification, VerificationState
from restead.records import audit, restores, verifications
from restead.records.tables import restores as restore_table


def _restore(front: Front, **parameters: object) -> tuple[Server, dict[str, Any]]:
    server = front.server()
    answer = front.post("/restores", front.restore_body(front.backup_of(server), server, **parameters))
    assert answer.status == 200, answer.json
    return server, answer.json["restore"]


def _act(front: Front, restore: dict[str, Any], **action: object) -> Answer:
    return front.post(f"/restores/{restore['id']}/action", action)


def _keep(front: Front, restore: dict[str, Any], safety: str) -> None:
    """Note that the restore kept what it overwrote in that checkpoint."""
    with front.records.begin() as tx:
        tx.connection.execute(
            restore_table.update().where(restore_table.c.id == restore["id"]).values(safety_checkpoint_id=safety)
        )


class TestPlan:
    def test_a_plan_says_what_would_be_written_and_changes_nothing(self, front: Front) -> None:
        server = front.server(20 * MIB, 5 * MIB)
        backup = front.backup_of(server)
        front.cloud.put(replace(server, status=ServerStatus.RUNNING))
        submitted = list(front.submitted)
        body = front.restore_body(backup, server)
        answer = front.post("/restores/plan", body)
        assert answer.status == 200
        assert answer.json == {"plan": {
            "server_id": server.id, "server_actions": ["stop", "start"],
            "volumes": [
                {"backup_id": v.id, "volume_id": t.id, "size": v.size, "target_size": t.size,
                 "to_write_at_most": t.size}
                for v, t in zip(backup.volumes, server.volumes, strict=True)
            ],
        }}  # fmt: skip
        assert submitted == front.submitted
        assert front.get("/restores").json == {"restores": []}
        assert front.get(f"/checkpoint_items/{backup.id}").json["checkpoint_item"]["status"] == "available"

    def test_exact_numbers_stand_in_the_plan_if_disks_were_compared(self, front: Front) -> None:
        front.compared = [Comparison(kept=19 * MIB, to_write=MIB, to_zero=0, to_save=4096), None]
        server = front.server()
        body = front.restore_body(front.backup_of(server), server, power_on=False, compare=True)
        plan = front.post("/restores/plan", body).json["plan"]
        assert plan["server_actions"] == []
        exact = {"kept", "to_write", "to_zero", "to_save", "damaged"}
        assert [exact & set(volume) for volume in plan["volumes"]] == [exact, set()]
        assert [plan["volumes"][0][name] for name in ("kept", "to_write", "to_zero", "to_save")] == [
            19 * MIB, MIB, 0, 4096,
        ]  # fmt: skip
        body["restore"]["parameters"]["compare"] = False
        assert not exact & set(front.post("/restores/plan", body).json["plan"]["volumes"][0])

    @pytest.mark.parametrize(
        ("found", "told"),
        [
            (((4096, 512),), {"bytes": 512, "ranges": [[4096, 512]]}),
            ((), {"bytes": 20 * MIB, "ranges": [[0, 20 * MIB]]}),  # its manifest is lost
        ],
    )
    def test_what_a_verification_found_lost_stands_in_the_plan(
        self, front: Front, found: tuple[tuple[int, int], ...], told: dict[str, object]
    ) -> None:
        server = front.server(20 * MIB)
        backup = front.backup_of(server)
        lost = DamagedDisk(ManifestId("1.0"), backup.project_id, "a disk", found, sum(n for _, n in found), "flipped")
        with front.records.begin() as tx:
            looked = Verification("v", Depth.FULL, VerificationState.DAMAGED, tx.now, tx.now, disks=(lost,))
            verifications.keep(tx, looked)
        (volume,) = front.post("/restores/plan", front.restore_body(backup, server)).json["plan"]["volumes"]
        assert volume["known_lost"].pop("found_at")
        assert volume["known_lost"] == told

    def test_a_plan_is_refused_as_the_restore_would_be(self, front: Front) -> None:
        server = front.server()
        backup = front.backup_of(server)
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"targets": {"server_id": server.id, "volumes": []}}, 400, "CSBS.9001"),
            ({"salvage": "true"}, 400, "CSBS.9001"),
            ({"compare": "true"}, 400, "CSBS.9001"),
            ({"checkpoint_item_id": "nothing"}, 404, "CSBS.3001"),
        ]
        for changes, status, code in cases:
            body = front.restore_body(backup, server, **changes)
            answer = front.post("/restores/plan", body)
            assert (answer.status, answer.code) == (status, code), changes
        small = front.server(MIB, 5 * MIB, name="small")
        answer = front.post("/restores/plan", front.restore_body(backup, small))
        assert (answer.status, answer.code) == (400, "CSBS.6024")

    def test_compare_is_a_member_of_plans_only(self, front: Front) -> None:
        """In a restore it is an unknown member: ignored, and not echoed."""
        assert "compare" not in _restore(front, compare=True)[1]["parameters"]


class TestCancel:
    def test_a_restore_that_is_under_way_is_marked(self, front: Front) -> None:
        _, restore = _restore(front)
        for _ in range(2):
            answer = _act(front, restore, cancel={})
            assert (answer.status, answer.json["restore"]["status"]) == (200, "in_progress")
        with front.records.read() as tx:
            assert restores.restore(tx, PROJECT, RestoreId(restore["id"])).cancelled

    def test_one_that_has_ended_is_not_cancelled(self, front: Front) -> None:
        _, restore = _restore(front)
        front.finish_restore(restore["id"])
        answer = _act(front, restore, cancel={})
        assert (answer.status, answer.code) == (400, "CSBS.2003")


class TestUndo:
    def test_what_was_kept_is_restored_to_where_it_stood(self, front: Front) -> None:
        server = front.server()
        backup, kept = front.backup_of(server), front.backup_of(server)
        restore = front.post("/restores", front.restore_body(backup, server)).json["restore"]
        _keep(front, restore, kept.checkpoint_id)
        front.finish_restore(restore["id"])
        assert front.get(f"/restores/{restore['id']}").json["restore"]["safety_checkpoint_id"] == kept.checkpoint_id
        undoing = _act(front, restore, undo={"power_on": False}).json["restore"]
        assert (restore["id"], kept.checkpoint_id) == (undoing["undo_of"], undoing["checkpoint_id"])
        assert undoing["id"] != restore["id"]
        assert undoing["parameters"]["power_on"] is False
        assert undoing["parameters"]["targets"]["volumes"] == [
            {"backup_id": volume.id, "volume_id": volume.volume_id} for volume in kept.volumes
        ]

    def test_without_a_safety_checkpoint_there_is_nothing_to_undo(self, front: Front) -> None:
        _, restore = _restore(front, safety=False)
        front.finish_restore(restore["id"])
        answer = _act(front, restore, undo={"power_on": True})
        assert (answer.status, answer.code) == (400, "CSBS.4000")


class TestThrottle:
    @pytest.mark.parametrize(("sent", "noted"), [({"bytes_per_second": 5 * MIB}, 5 * MIB),
                                                 ({"bytes_per_second": 0}, None), ({}, None)])  # fmt: skip
    def test_a_restore_is_throttled_while_it_runs(self, front: Front, sent: object, noted: int | None) -> None:
        _, restore = _restore(front)
        _act(front, restore, throttle={"bytes_per_second": 1})
        assert _act(front, restore, throttle=sent).status == 200
        with front.records.read() as tx:
            assert noted == restores.restore(tx, PROJECT, RestoreId(restore["id"])).throttle

    def test_all_together_are_throttled_by_administrators_only(self, front: Front) -> None:
        body = {"throttle": {"bytes_per_second": MIB}}
        assert front.post("/restores/action", body).code == "CSBS.9403"
        answer = front.post("/restores/action", body, token=front.token_of(Role.ADMIN))
        assert (answer.status, answer.json) == (200, {})
        id = RestoreId(_restore(front)[1]["id"])
        with front.records.read() as tx:
            assert restores.wishes(tx, id) == (False, None, MIB)


@pytest.mark.parametrize("action", [
    {}, {"cancel": None}, {"cancel": {}, "undo": {"power_on": True}}, {"undo": {}}, {"undo": {"power_on": "true"}},
    {"throttle": {"bytes_per_second": -1}}, {"throttle": {"bytes_per_second": 2**60}}, {"begin": {}},
])  # fmt: skip
def test_what_is_not_exactly_one_action_is_refused(front: Front, action: dict[str, object]) -> None:
    _, restore = _restore(front)
    answer = _act(front, restore, **action)
    assert (answer.status, answer.code) == (400, "CSBS.9001")


@pytest.mark.parametrize("action", [{"cancel": {}}, {"undo": {"power_on": True}}, {"throttle": {}}])
def test_only_members_act_and_only_on_restores_of_their_project(front: Front, action: dict[str, object]) -> None:
    _, restore = _restore(front)
    path = f"/restores/{restore['id']}/action"
    assert front.post(path, action, token=front.token_of(Role.READER)).code == "CSBS.9403"
    theirs = front.post(path, action, project=OTHER, token=front.token_of(Role.MEMBER, OTHER))
    assert (theirs.status, theirs.code) == (404, "CSBS.6040")


class _Roles:
    """An identity service whose tokens are the names of roles."""

    def __init__(self, **allowed: Iterable[str]) -> None:
        self._rights = DEFAULT_RIGHTS.changed(allowed)

    def caller(self, token: str) -> Caller:
        return Caller("u", PROJECT, frozenset({token}), self._rights)


@pytest.mark.parametrize(
    ("allowed", "action"),
    [(Action.RESTORES_CANCEL, {"cancel": {}}), (Action.RESTORES_THROTTLE, {"throttle": {"bytes_per_second": 7}}),
     (Action.RESTORES_UNDO, {"undo": {"power_on": False}})],
)  # fmt: skip
def test_each_action_asks_for_its_own_right_and_is_noted_by_its_own_name(
    front: Front, allowed: Action, action: dict[str, object]
) -> None:
    """One path stands for three; who may not do one of them changes nothing, and each is its own right alone."""
    server = front.server()
    backup, kept = front.backup_of(server), front.backup_of(server)
    restore = front.post("/restores", front.restore_body(backup, server)).json["restore"]
    _keep(front, restore, kept.checkpoint_id)
    if allowed is Action.RESTORES_UNDO:
        front.finish_restore(restore["id"])
    others = set(Action) - {allowed}
    front.app.state.door = replace(front.app.state.door, identity=_Roles(others=others, it={allowed}))
    path, begun = f"/restores/{restore['id']}/action", len(front.submitted)
    assert front.post(path, action, token="others").code == "CSBS.9403"
    with front.records.read() as tx:
        there = restores.restore(tx, PROJECT, RestoreId(restore["id"]))
    assert (there.cancelled, there.throttle, len(front.submitted)) == (False, None, begun)
    assert front.post(path, action, token="it").status == 200
    said = [each.said for each in audit.entries(front.records) if path in each.said.subject]
    assert [(each.action, each.outcome) for each in said] == [
        (allowed, ""), (allowed, "403 CSBS.9403"), (allowed, ""), (allowed, "200"),
    ]  # fmt: skip


def test_what_is_wrong_with_the_body_of_an_action_is_told_after_the_role_and_noted(front: Front) -> None:
    _, restore = _restore(front)
    path, large = f"/restores/{restore['id']}/action", b"x" * (2**20 + 1)
    for token in (front.token_of(Role.READER), front.token):
        for body in (large, [large, b""], b"x"):
            front.post(path, body, token=token)
    outcomes = [each.said.outcome for each in audit.entries(front.records) if path in each.said.subject]
    assert [outcome for outcome in outcomes if outcome] == [
        *["403 CSBS.9403"] * 3, "413 CSBS.9413", "413 CSBS.9413", "400 CSBS.9001",
    ]  # fmt: skip


def test_readers_plan(front: Front) -> None:
    server = front.server()
    body = front.restore_body(front.backup_of(server), server)
    assert front.post("/restores/plan", body, token=front.token_of(Role.READER)).status == 200


def test_paths_of_fixed_words_are_no_restores(front: Front) -> None:
    """Allow says what stands there, not what would if the word were an id."""
    for word in ("plan", "action"):
        answer = front.call("OPTIONS", f"/restores/{word}")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
