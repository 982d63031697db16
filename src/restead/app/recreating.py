"""A lost server is made again from what a backup keeps of it."""

from collections.abc import Callable, Mapping
from typing import Any

from restead.app.naming import sessions_called
from restead.app.opening import Opened
from restead.domain.errors import Damaged, InvalidRequest, NotFound
from restead.domain.ids import ServerId, VolumeId
from restead.domain.token import check_project
from restead.repository import Repository


def recreate(
    opened: Opened, repository: Repository, backup: str, project: str | None, say: Callable[[str], None]
) -> ServerId:
    """Define the domain that the backup is of, and return its id; as `Stored.recreate`."""
    if opened.libvirt is None:
        raise InvalidRequest("libvirt_uri is not set, and only domains of libvirt's are made again")
    wanted = None if project is None else check_project(project)
    (session,) = sessions_called(opened, repository, wanted, [backup])
    every = [entry for entry in repository.log.refresh().manifests.values() if entry.session == session]
    found = [manifest for _, manifest in repository.described(every) if not isinstance(manifest, Damaged)]
    if not found:
        raise NotFound(f"what backup {backup} tells of its server cannot be read")
    server: Mapping[str, Any] = found[0].description.server
    sizes = {VolumeId(str(each.description.server["disk"])): each.size for each in found}
    description = server.get("description")
    if not isinstance(description, dict):
        raise InvalidRequest(f"backup {backup} does not tell how to make its server again")
    return opened.libvirt.recreate(description, sizes, say)
