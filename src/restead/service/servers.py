"""Servers, as their cloud describes them: so that people can name one.  An extension of ours."""

from collections.abc import Sequence

from restead.domain.caller import Action, Caller
from restead.domain.errors import Forbidden, InvalidRequest, NotFound
from restead.domain.ids import ProjectId, ServerId
from restead.domain.server import Server
from restead.records import paces
from restead.service.doors import Doors


class Servers:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def list(self, caller: Caller, project_id: ProjectId) -> Sequence[Server]:
        caller.require(Action.SERVERS_LIST, project_id)
        return self._doors.servers.servers(project_id)

    def server(self, caller: Caller, project_id: ProjectId, id_or_name: str) -> Server:
        """Return the server of that id, or else the only one of that name.

        Raises:
            NotFound: none has that id or name.
            InvalidRequest: several have that name.
        """
        caller.require(Action.SERVERS_LIST, project_id)
        found = self._doors.server(project_id, ServerId(id_or_name))
        if found is not None:
            return found
        named = [server for server in self._doors.servers.servers(project_id) if server.name == id_or_name]
        if not named:
            raise NotFound(f"server {id_or_name[:64]} does not exist")
        if len(named) > 1:
            ids = ", ".join(server.id for server in named)
            raise InvalidRequest(f"{len(named)} servers are named {id_or_name[:64]}: say which by its id ({ids})")
        return named[0]

    def throttle(
        self, caller: Caller, project_id: ProjectId, id_or_name: str | None, bytes_per_second: int | None
    ) -> None:
        """Let a server, or with None all together, be read that fast at most while it runs; None: as fast as it goes.

        Counts for backups that are under way too, within a second.

        Raises:
            NotFound, InvalidRequest: as `server`.  Forbidden: only administrators throttle all.
        """
        caller.require(Action.SERVERS_THROTTLE, project_id)
        if id_or_name is None and not caller.may_everywhere(Action.SERVERS_THROTTLE):
            raise Forbidden("only an administrator may throttle the backups of all projects")
        which = None if id_or_name is None else (project_id, self.server(caller, project_id, id_or_name).id)
        with self._doors.records.begin() as tx:
            paces.throttle(tx, which, bytes_per_second)
