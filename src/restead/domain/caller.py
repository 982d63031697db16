"""Who asks, and what they may do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from restead.domain.errors import Forbidden, InvalidRequest
from restead.domain.ids import ProjectId


class Role(StrEnum):
    """The roles that are there unless an operator says otherwise."""

    READER = "reader"  # everything that changes nothing
    MEMBER = "member"  # everything inside the project
    ADMIN = "admin"  # also other projects


class Action(StrEnum):
    """Permissions as the contract names them (CSBS, section 16)."""

    @property
    def changes(self) -> bool:
        """Whether it may change anything."""
        return not self.value.endswith((":list", ":get"))

    BACKUPS_CREATE = "csbs:backups:create"
    BACKUPS_LIST = "csbs:backups:list"
    BACKUPS_GET = "csbs:backups:get"
    BACKUPS_DELETE = "csbs:backups:delete"
    BACKUPS_HOLD = "csbs:backups:hold"
    RESTORES_CREATE = "csbs:restores:create"
    RESTORES_LIST = "csbs:restores:list"
    RESTORES_GET = "csbs:restores:get"
    RESTORES_CANCEL = "csbs:restores:cancel"
    RESTORES_UNDO = "csbs:restores:undo"
    RESTORES_THROTTLE = "csbs:restores:throttle"  # our extension: see docs/api.md
    POLICIES_CREATE = "csbs:policies:create"
    POLICIES_LIST = "csbs:policies:list"
    POLICIES_GET = "csbs:policies:get"
    POLICIES_UPDATE = "csbs:policies:update"
    POLICIES_DELETE = "csbs:policies:delete"
    TAGS_SET = "csbs:tags:set"
    TAGS_DELETE = "csbs:tags:delete"
    TAGS_LIST = "csbs:tags:list"
    QUOTAS_GET = "csbs:quotas:get"
    TASKS_LIST = "csbs:tasks:list"
    TASKS_GET = "csbs:tasks:get"
    TASKS_DELETE = "csbs:tasks:delete"
    SERVERS_LIST = "csbs:servers:list"  # our extension: see docs/api.md
    SERVERS_THROTTLE = "csbs:servers:throttle"  # our extension
    NOTICES_LIST = "csbs:notices:list"  # our extension, here and below: for administrators only
    NOTICES_RETRY = "csbs:notices:retry"
    NOTICES_DELETE = "csbs:notices:delete"
    NOTICES_TEST = "csbs:notices:test"


OTHER_PROJECTS = "other_projects"
"""Stands among a role's actions if it reaches every project."""

_READING = frozenset({Action.BACKUPS_LIST, Action.BACKUPS_GET, Action.RESTORES_LIST, Action.RESTORES_GET,
                      Action.QUOTAS_GET, Action.SERVERS_LIST, Action.TASKS_LIST, Action.TASKS_GET,
                      Action.POLICIES_LIST, Action.POLICIES_GET, Action.TAGS_LIST, Action.NOTICES_LIST})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rights:
    """What each role allows; a role that is not named allows nothing."""

    allowed: Mapping[str, frozenset[Action]]
    everywhere: frozenset[str]  # the roles that reach every project

    def changed(self, roles: Mapping[str, Iterable[str]]) -> "Rights":
        """Return these rights with those roles made anew: a list of actions each, `*` at an end for all that begin so.

        Roles are told apart without regard to case.

        Raises:
            InvalidRequest: a role lists what is no action.
        """
        allowed, everywhere = dict(self.allowed), set(self.everywhere)
        for name, words in roles.items():
            role, listed = name.lower(), set(words)
            everywhere.discard(role)
            if OTHER_PROJECTS in listed:
                everywhere.add(role)
            allowed[role] = _named(role, listed - {OTHER_PROJECTS})
        return Rights(allowed, frozenset(everywhere))


def _named(role: str, words: Iterable[str]) -> frozenset[Action]:
    found: set[Action] = set()
    for word in words:
        named = {each for each in Action if each == word or (word.endswith("*") and each.startswith(word[:-1]))}
        if not named:
            raise InvalidRequest(f"role {role!r} lists {word!r}, which is no action: it can be one of "
                                 f"{', '.join(Action)}, csbs:* and such, or {OTHER_PROJECTS}")  # fmt: skip
        found |= named
    return frozenset(found)


DEFAULT_RIGHTS = Rights(
    {Role.READER: _READING, Role.MEMBER: frozenset(Action), Role.ADMIN: frozenset(Action)}, frozenset({Role.ADMIN})
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The one behind a token."""

    user: str
    project_id: ProjectId
    roles: frozenset[str]
    rights: Rights = field(default=DEFAULT_RIGHTS, repr=False)

    @property
    def is_admin(self) -> bool:
        """Whether a role of theirs reaches every project."""
        return bool(self._everywhere)

    def may_everywhere(self, action: Action) -> bool:
        """Whether a role of theirs that reaches every project allows *action*: what others allow ends at their own."""
        return self._allow(self._everywhere, action)

    def require(self, action: Action, project_id: ProjectId) -> None:
        """Return if the caller may do *action* in that project.

        Raises:
            Forbidden: the token is another project's, or no role of it that counts there allows the action.
        """
        if project_id != self.project_id and not self.is_admin:
            raise Forbidden(f"the token belongs to another project than {project_id}")
        if not self._allow(self.roles if project_id == self.project_id else self._everywhere, action):
            raise Forbidden(f"no role of this token allows {action.value} in project {project_id}")

    def scope(self, action: Action, project_id: ProjectId, *, all_projects: bool) -> ProjectId | None:
        """Return the project in which they do *action*; None: in all, which was asked for and they may.

        Raises:
            Forbidden: as `require`.
        """
        self.require(action, project_id)
        return None if all_projects and self.may_everywhere(action) else project_id

    @property
    def _everywhere(self) -> frozenset[str]:
        return self.roles & self.rights.everywhere

    def _allow(self, roles: Iterable[str], action: Action) -> bool:
        return any(action in self.rights.allowed.get(role, ()) for role in roles)
