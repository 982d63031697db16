"""Several clouds behind the same two doors: each server belongs to the first that knows it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol, TypeVar

from restead.domain.errors import Code, NotFound
from restead.domain.ids import ProjectId, ServerId, VolumeId, canonical_id
from restead.domain.server import Server
from restead.ports import BlockTarget, Moment, RetiresGenerations, Servers, Volumes

Result = TypeVar("Result")


class Cloud(Servers, Volumes, Protocol):
    """A driver: servers and their disks."""


class Union:
    """Implements `Servers` and `Volumes`; the clouds are asked in order.

    A server that two of them know by the same id is the first one's alone: an operator who has described it there has
    said more of it.
    """

    def __init__(self, clouds: Sequence[Cloud]) -> None:
        self._clouds = clouds

    def server(self, project_id: ProjectId, server_id: ServerId) -> Server:
        return self._first(server_id, lambda cloud: cloud.server(project_id, server_id))

    def servers(self, project_id: ProjectId) -> list[Server]:
        found: dict[str, Server] = {}
        for cloud in self._clouds:
            for server in cloud.servers(project_id):
                found.setdefault(canonical_id(server.id), server)
        return sorted(found.values(), key=lambda server: (server.name, server.id))

    def stop(self, project_id: ProjectId, server_id: ServerId, *, grace: timedelta) -> None:
        self._owner(project_id, server_id).stop(project_id, server_id, grace=grace)

    def start(self, project_id: ProjectId, server_id: ServerId) -> None:
        self._owner(project_id, server_id).start(project_id, server_id)

    def open_moment(
        self, project_id: ProjectId, server_id: ServerId, volume_ids: Sequence[VolumeId]
    ) -> AbstractContextManager[Moment]:
        return self._owner(project_id, server_id).open_moment(project_id, server_id, volume_ids)

    def open_target(
        self, project_id: ProjectId, server_id: ServerId, volume_id: VolumeId
    ) -> AbstractContextManager[BlockTarget]:
        return self._owner(project_id, server_id).open_target(project_id, server_id, volume_id)

    def retire(self, project_id: ProjectId, server_id: ServerId, kept: Mapping[VolumeId, str]) -> None:
        cloud = self._owner(project_id, server_id)
        if isinstance(cloud, RetiresGenerations):
            cloud.retire(project_id, server_id, kept)

    def _owner(self, project_id: ProjectId, server_id: ServerId) -> Cloud:
        def know(cloud: Cloud) -> Cloud:
            cloud.server(project_id, server_id)
            return cloud

        return self._first(server_id, know)

    def _first(self, server_id: ServerId, ask: Callable[[Cloud], Result]) -> Result:
        for cloud in self._clouds:
            try:
                return ask(cloud)
            except NotFound as error:
                if error.code is not Code.SERVER_NOT_FOUND:
                    raise
        raise NotFound(f"there is no server {server_id}", code=Code.SERVER_NOT_FOUND)
