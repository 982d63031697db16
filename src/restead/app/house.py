"""The house as the command line works with it: tokens and servers on a data folder, service or not."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

from restead.app.audit import noting
from restead.app.database import FolderDatabase
from restead.app.importing import import_images
from restead.app.keys import FolderKeys
from restead.app.opening import Opened
from restead.app.quotas import project_quotas, set_project_quota
from restead.app.stored import FolderStored
from restead.cli.doors import NewImport, NewServer, ProjectQuotas
from restead.domain.audit import AuditEntry
from restead.domain.backup import Backup
from restead.domain.errors import InvalidRequest, NotFound
from restead.domain.ids import ProjectId, ServerId, canonical_id, same_id
from restead.domain.server import Server
from restead.domain.token import Token, check_project
from restead.drivers.images import DiskDefinition, Power, ServerDefinition, disk_from_text
from restead.records import Tokens, audit, servers


class FolderHouse:
    """Implements the command line's `House`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._tokens = Tokens(opened.records, opened.settings.rights)
        self.keys = FolderKeys(opened)
        self.stored = FolderStored(opened)
        self.database = FolderDatabase(opened)

    # ------------------------------------------------------------------ audit trail

    def noting(self, action: str, subject: str) -> AbstractContextManager[None]:
        return noting(self._opened.records, action, subject)

    def audit(self, after: int) -> Iterator[AuditEntry]:
        return audit.entries(self._opened.records, after)

    def check_audit(self, known: tuple[int, str] | None) -> tuple[int, str]:
        return audit.check(self._opened.records, known)

    # ------------------------------------------------------------------ tokens

    def create_token(self, project: str, role: str, lasts: timedelta | None) -> str:
        return self._tokens.create(project, role=role, expires=lasts).secret

    def tokens(self) -> list[Token]:
        return list(self._tokens.list())

    def revoke_token(self, id: str) -> Token:
        return self._tokens.revoke(id)

    # ------------------------------------------------------------------ quotas

    def quotas(self) -> list[ProjectQuotas]:
        return list(project_quotas(self._opened))

    def set_quota(self, project: str, number: int | None, capacity: int | None) -> None:
        set_project_quota(self._opened, project, number, capacity)

    # ------------------------------------------------------------------ servers

    def add_server(self, new: NewServer) -> Server:
        definition = self._opened.images.add(_definition(new))
        return self._opened.images.server(definition.project, definition.id)

    def servers(self, project: str | None) -> list[Server]:
        wanted = self._opened.projects() if project is None else [check_project(project)]
        return [server for each in wanted for server in self._opened.cloud.servers(each)]

    def server(self, name_or_id: str, project: str | None) -> Server:
        of_project = [each for each in self._known() if project in (None, each[0])]
        found = [each for each in of_project if same_id(each[1], name_or_id)]
        found = found or [each for each in of_project if each[2] == name_or_id]
        if not found:
            raise NotFound(f"there is no server {name_or_id}" + (f" in project {project}" if project else ""))
        if len(found) > 1:
            which = ", ".join(f"{id} of project {project}" for project, id, _ in found[:5])
            raise InvalidRequest(f"{len(found)} servers are named {name_or_id}; say which by its id: {which}")
        return self._opened.cloud.server(found[0][0], found[0][1])

    def _known(self) -> list[tuple[ProjectId, ServerId, str]]:
        """Return project, id and name of every server, without looking at its disks."""
        described = [(each.project, each.id, each.name) for each in self._opened.images.definitions()]
        ids = {canonical_id(id) for _, id, _ in described}
        libvirt = self._opened.libvirt
        return described + [each for each in (libvirt.known() if libvirt else ()) if canonical_id(each[1]) not in ids]

    def import_images(
        self, new: NewImport, told: Callable[[int, int, int | None], None], say: Callable[[str], None]
    ) -> Backup:
        try:
            server = self.server(new.server, new.project)
        except NotFound:
            server = None
        return import_images(self._opened, new, server, told, say)

    def start_server(self, server: Server) -> None:
        self._require_idle(server, "started")
        self._opened.cloud.start(server.project_id, server.id)

    def stop_server(self, server: Server, grace: timedelta) -> None:
        self._require_idle(server, "stopped")
        self._opened.cloud.stop(server.project_id, server.id, grace=grace)

    def remove_server(self, server: Server) -> None:
        self._require_idle(server, "removed")
        if server.description.get("driver") != "images":
            raise InvalidRequest(f"server {server.name} ({server.id}) is libvirt's: virsh undefine forgets it")
        self._opened.images.remove(server.id)

    def _require_idle(self, server: Server, what: str) -> None:
        with self._opened.records.read() as tx:
            busy = servers.under_way(tx, server.project_id, server.id)
        if busy:
            raise InvalidRequest(f"server {server.name} ({server.id}) cannot be {what} now: {busy}")


def _definition(new: NewServer) -> ServerDefinition:
    disks: tuple[DiskDefinition, ...] = tuple(map(disk_from_text, new.disks))
    try:
        power = Power(new.power)
    except ValueError:
        raise InvalidRequest(f"power {new.power!r} is none of {', '.join(Power)}") from None
    return ServerDefinition(
        name=new.name, project=ProjectId(new.project), id=ServerId(new.id), disks=disks, power=power,
        power_command=new.power_command, memory=new.memory, cpus=new.cpus, zone=new.zone, arch=new.arch,
        addresses=tuple(new.addresses), tags=tuple(new.tags),
    )  # fmt: skip
