"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from restead.domain.errors import Forbidden
from restead.domain.ids import ProjectId


class Role(StrEnum):
    READER = "reader"  # everything that changes nothing
    MEMBER = "member"  # everything inside the project
    ADMIN = "admin"  # also other projects


class Action(StrEnum):
    """Permissions as the contract names them (CSBS, section 16)."""

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
    QUOTAS_GET = "csbs:quotas:get"
    SERVERS_LIST = "csbs:servers:list"  # our extension: see docs/api.md


_READING = frozenset({Action.BACKUPS_LIST, Action.BACKUPS_GET, Action.RESTORES_LIST, Action.RESTORES_GET,
                      Action.QUOTAS_GET, Action.SERVERS_LIST})  # fmt: skip
_ALLOWED: dict[Role, frozenset[Action]] = {
    Role.READER: _READING,
    Role.MEMBER: frozenset(Action),
    Role.ADMIN: frozenset(Action),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The one behind a token."""

    user: str
    project_id: ProjectId
    roles: frozenset[Role]

    @property
    def is_admin(self) -> bool:
        return Role.ADMIN in self.roles

    def require(self, action: Action, project_id: ProjectId) -> None:
        """Return if the caller may do *action* in that project.

        Raises:
            Forbidden: the token is another project's, or no role of it allows the action.
        """
        if project_id != self.project_id and not self.is_admin:
            raise Forbidden(f"the token belongs to another project than {project_id}")
        if not any(action in _ALLOWED[role] for role in self.roles):
            raise Forbidden(f"no role of this token allows {action.value} in project {project_id}")
