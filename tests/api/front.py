"""The front of the house: the API over the real service and real rows, in front of a cloud in memory.

No run is ever worked on: what they would have done to the rows is done by `finish_backup` and `finish_restore`.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from tests.api.contract import Contract
from tests.fakes.cloud import MemoryCloud

from restead.api import create_api
from restead.domain.backup import Backup, Failure
from restead.domain.caller import Role
from restead.domain.ids import BackupId, ProjectId, RestoreId, RunId
from restead.domain.restore import Comparison, Restore
from restead.domain.server import Server
from restead.domain.states import Event
from restead.ports import Notifier
from restead.records import Records, Tokens, backups, restores
from restead.service import Rules, Service

PROJECT = ProjectId("b942cc8342734d15bcb246babb1953cf")
OTHER = ProjectId("another")
PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"
HOST = "backup.test:8799"
MIB = 2**20


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]  # names in lower case
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What a stream of events told, each as its data."""
        blocks = self.content.decode().split("\n\n")
        parts = [dict(line.partition(": ")[::2] for line in block.split("\n")) for block in blocks]
        found = [(part, json.loads(part["data"])) for part in parts if "data" in part]
        for part, data in found:
            assert (part["id"], part["event"]) == (str(data["id"]), data["kind"])
        return [data for _, data in found]

    @property
    def body(self) -> Any:
        """The JSON, or the events of a stream."""
        if not self.content:
            return None
        return self.events if self.headers.get("content-type", "").startswith("text/event-stream") else self.json

    @property
    def code(self) -> str:
        return str(self.json["error_code"])

    @property
    def message(self) -> str:
        return str(self.json["error_msg"])


class Clock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 10, 15, 30, 104233, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class Front:
    """The API on a database of its own; every answer is held against the published document."""

    def __init__(
        self, database: str, *, rules: Rules | None = None, recipients: Mapping[str, Notifier] = MappingProxyType({}),
        **settings: Any,
    ) -> None:  # fmt: skip
        self.records = Records.open(database, clock=Clock())
        self.cloud = MemoryCloud()
        self.submitted: list[RunId] = []
        self.compared: Sequence[Comparison | None] = ()  # what reading the disks would have found
        self.service = Service(self.records, self.cloud, self.submitted.append, rules, lambda *_: self.compared,
                               recipients=recipients)  # fmt: skip
        self.tokens = Tokens(self.records)
        self.token = self.tokens.create(PROJECT).secret
        self.app = create_api(self.service, self.tokens, **settings)
        self.contract = Contract(self.app.openapi())
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()
        self.records.close()

    def token_of(self, role: Role, project: str = PROJECT) -> str:
        return self.tokens.create(project, role=role).secret

    # ------------------------------------------------------------------ calls

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, body: object, **options: Any) -> Answer:
        return self.call("POST", path, body, **options)

    def call(
        self, method: str, path: str, body: object = b"", *, token: str | None = "", project: str = PROJECT,
        headers: Sequence[tuple[str, str]] = (), check: bool = True, client: str = "127.0.0.1",
    ) -> Answer:  # fmt: skip
        """Send a request; *path* begins with a slash inside the project, or with `!` for the whole path.

        *body*: bytes as they are, a list of bytes as a chunked body, anything else as JSON.  *token*: "" for the
        member's own, None for none.
        """
        whole = path[1:] if path.startswith("!") else f"/v1/{project}{path}"
        token = self.token if token == "" else token
        host = [] if any(name == "host" for name, _ in headers) else [("host", HOST)]
        sent = [*host, *headers, *([("x-auth-token", token)] if token is not None else [])]
        parts: Sequence[bytes] = body if isinstance(body, list) and all(isinstance(b, bytes) for b in body) else [
            body if isinstance(body, bytes) else json.dumps(body).encode()]  # fmt: skip
        answer = self._runner.run(_ask(self.app, method, whole, sent, parts, client))
        if check:
            target = unquote(whole.partition("?")[0]).rstrip("/") or "/"
            self.contract.check(method, target, answer.status, answer.headers, answer.body)
        return answer

    def at_once(self, calls: Sequence[tuple[str, str, object]], tokens: Sequence[str] = ()) -> list[Answer]:
        """Send several requests at the same time; *tokens*: one for each, instead of the member's own."""

        async def ask() -> list[Answer]:
            return await asyncio.gather(*(
                _ask(self.app, method, f"/v1/{PROJECT}{path}", [("host", HOST), ("x-auth-token", token)],
                     [json.dumps(body).encode()])
                for (method, path, body), token in zip(calls, tokens or [self.token] * len(calls), strict=True)
            ))  # fmt: skip

        return self._runner.run(ask())

    # ------------------------------------------------------------------ arranging

    def server(self, *sizes: int, name: str = "web-1", project: ProjectId = PROJECT, **given: Any) -> Server:
        """Make a stopped server with disks of these sizes (20 and 5 MiB)."""
        ids = {key: given.pop(key) for key in ("server_id", "volume_ids") if key in given}
        server = self.cloud.add(project, sizes or (20 * MIB, 5 * MIB), name, **ids)
        usual = {"zone": "nova", "memory": 4096, "cpus": 2, "private_address": "192.0.2.17"}
        server = replace(server, **(usual | given))
        self.cloud.put(server)
        return server

    def protect(self, server: Server, **members: object) -> Answer:
        return self.post(f"/providers/{PROVIDER}/resources/{server.id}/action", {"protect": members})

    def backup_of(self, server: Server, **members: object) -> Backup:
        """Back the server up and finish it: an available backup."""
        answer = self.protect(server, **members)
        assert answer.status == 200, answer.json
        return self.finish_backup(answer.json["checkpoint"]["id"])

    def finish_backup(self, checkpoint_id: str, failure: Failure | None = None) -> Backup:
        with self.records.begin() as tx:
            found = backups.of_checkpoint(tx, checkpoint_id)[0]
            return backups.move(tx, found.id, Event.FAILED if failure else Event.PROTECTED, lambda backup: replace(
                backup, protected_at=backup.created_at, finished_at=backup.created_at + timedelta(seconds=2),
                consistency="offline", progress=100, failure=failure, failed_operation="backup" if failure else "",
                volumes=tuple(replace(v, stored=v.size // 2, read=v.size, bytes_per_second=v.size // 2,
                                      manifest="1.0") for v in backup.volumes)))  # fmt: skip

    def finish_restore(self, restore_id: str, event: Event = Event.RESTORED, **changes: Any) -> Restore:
        """End a restore; its backup goes back to available."""
        with self.records.begin() as tx:
            restore = restores.move(tx, RestoreId(restore_id), event, lambda restore: replace(
                restore, finished_at=tx.now, **changes))  # fmt: skip
            backups.move(tx, BackupId(restore.request.backup_id), event)
            return restore

    def restore_body(self, backup: Backup, server: Server, **parameters: object) -> dict[str, Any]:
        """Return the request that puts every disk of the backup onto the disks of the server in their order."""
        volumes = [{"backup_id": v.id, "volume_id": t.id} for v, t in zip(backup.volumes, server.volumes, strict=False)]
        return {"restore": {
            "provider_id": PROVIDER,
            "checkpoint_id": backup.checkpoint_id,
            "parameters": {
                "checkpoint_item_id": backup.id, "power_on": True,
                "targets": {"server_id": server.id, "volumes": volumes}, **parameters,
            },
        }}  # fmt: skip


async def _ask(
    app: Any, method: str, path: str, headers: list[tuple[str, str]], parts: Sequence[bytes], client: str = "127.0.0.1"
) -> Answer:
    raw, _, query = path.partition("?")
    if len(parts) == 1:
        headers = [*headers, ("content-length", str(len(parts[0])))]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(raw), "raw_path": raw.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers],
        "client": (client, 1234), "server": ("127.0.0.1", 8799), "state": {},
    }  # fmt: skip
    waiting = list(parts)
    started: list[dict[str, Any]] = []
    content = bytearray()

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        if not waiting:
            await asyncio.Event().wait()  # whoever asked goes on listening
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
        else:
            content.extend(message.get("body", b""))

    await asyncio.wait_for(app(scope, receive, send), 60)
    found = {k.decode("latin-1"): v.decode("latin-1") for k, v in started[0]["headers"]}
    return Answer(started[0]["status"], found, bytes(content))
