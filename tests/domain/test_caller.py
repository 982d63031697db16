"""Who may do what."""

import pytest

from restead.domain.caller import DEFAULT_RIGHTS, OTHER_PROJECTS, Action, Caller, Role
from restead.domain.errors import Forbidden, InvalidRequest
from restead.domain.ids import ProjectId, canonical_id, same_id
from restead.domain.token import check_project

P, Q = ProjectId("p"), ProjectId("q")
_CHANGING = {action for action in Action if not action.endswith((":list", ":get"))}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", Role)
def test_readers_change_nothing_and_only_administrators_leave_their_project(role: Role, action: Action) -> None:
    caller = Caller("u", P, frozenset({role}))
    for project in (P, Q):
        allowed = (role is not Role.READER or action not in _CHANGING) and (project == P or role is Role.ADMIN)
        if allowed:
            caller.require(action, project)
        else:
            with pytest.raises(Forbidden):
                caller.require(action, project)


def test_a_caller_without_a_role_may_nothing() -> None:
    with pytest.raises(Forbidden):
        Caller("u", P, frozenset()).require(Action.BACKUPS_LIST, P)


@pytest.mark.parametrize("text", ["", "a" * 65, "a b", "ä", "a\n", "a/b"])
def test_text_that_no_project_can_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        check_project(text)


def test_ids_that_are_uuids_are_the_same_in_any_case_and_others_are_not() -> None:
    id = "EE27F809-6FB5-40ae-ac46-c932bb4ee8fe"
    assert same_id(id, id.lower())
    assert not same_id("Disk", "disk")
    assert canonical_id("{" + id + "}") == "{" + id + "}"


def test_roles_are_made_anew_by_the_settings() -> None:
    rights = DEFAULT_RIGHTS.changed(
        {"Reader": [], "operator": ["csbs:backups:*", "csbs:quotas:get", OTHER_PROJECTS], "admin": ["csbs:*"]}
    )
    operator = Caller("u", P, frozenset({"operator"}), rights)
    for action in Action:
        if action.startswith("csbs:backups:") or action is Action.QUOTAS_GET:
            operator.require(action, Q)
        else:
            with pytest.raises(Forbidden):
                operator.require(action, P)
    with pytest.raises(Forbidden):
        Caller("u", P, frozenset({"reader"}), rights).require(Action.BACKUPS_LIST, P)
    with pytest.raises(Forbidden):
        Caller("u", P, frozenset({"admin"}), rights).require(Action.BACKUPS_LIST, Q)
    Caller("u", P, frozenset({"member", "unknown"}), rights).require(Action.BACKUPS_CREATE, P)


def test_a_role_that_reaches_every_project_takes_no_other_role_along() -> None:
    """Who is an auditor of all projects and a member of one is no member of all."""
    rights = DEFAULT_RIGHTS.changed({"auditor": ["csbs:backups:list", OTHER_PROJECTS]})
    both = Caller("u", P, frozenset({"member", "auditor"}), rights)
    both.require(Action.BACKUPS_DELETE, P)
    both.require(Action.BACKUPS_LIST, Q)
    with pytest.raises(Forbidden):
        both.require(Action.BACKUPS_DELETE, Q)
    assert both.is_admin
    assert both.may_everywhere(Action.BACKUPS_LIST)
    assert not both.may_everywhere(Action.BACKUPS_DELETE)


@pytest.mark.parametrize("word", ["", "csbs:backup:create", "csbs:nothing:*", "backups", "Csbs:*"])
def test_what_is_no_action_is_refused(word: str) -> None:
    with pytest.raises(InvalidRequest, match="is no action"):
        DEFAULT_RIGHTS.changed({"operator": [word]})
