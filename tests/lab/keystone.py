"""OpenStack Keystone on loopback: a real identity service for tests.

One process of one thread on SQLite, from
`.venv-keystone`, which `scripts/keystone` makes together with an empty installation (an administrator, no more), of
which each test gets a copy: making one takes four times as long as starting.  Ended by its process id.
"""

import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parent.parent.parent
VENV = ROOT / ".venv-keystone"
FIRST = VENV.resolve() / "first"  # the empty installation; its configuration names it so
PASSWORD = "keystone-secret-of-the-tests"
_PATIENCE = 120.0

_SERVER = """
import os, sys
from wsgiref.simple_server import make_server, WSGIRequestHandler
folder, port = sys.argv[1:]
sys.argv = ["keystone"]
os.environ["OS_KEYSTONE_CONFIG_DIR"], os.environ["OS_KEYSTONE_CONFIG_FILES"] = folder, "keystone.conf"
from keystone.server.wsgi import initialize_public_application
class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass
make_server("127.0.0.1", int(port), initialize_public_application(), handler_class=Quiet).serve_forever()
"""


@dataclass(frozen=True)
class Token:
    """A token of a project, as Keystone gave it."""

    secret: str
    project_id: str
    user_id: str


class Keystone:
    """A running Keystone, spoken to as its administrator."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v3"
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx2.Client(base_url=self.url, timeout=_PATIENCE)

    # ------------------------------------------------------------------ the process

    def start(self) -> None:
        """Run it, for the first time or again."""
        command = [VENV / "bin" / "python", "-W", "ignore", "-c", _SERVER, self.folder, str(self.port)]
        with (self.folder / "keystone.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + _PATIENCE
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self.folder / "keystone.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"Keystone ended or never listened:\n{said}")
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    # ------------------------------------------------------------------ what the administrator does

    def make(self, kind: str, **fields: object) -> str:
        """Make a user, project, role, service, endpoint; return its id."""
        answer = self._asked("POST", f"/{kind}s", {kind: fields})
        found: str = answer[kind]["id"]
        return found

    def project(self, name: str) -> str:
        return self.make("project", name=name, domain_id="default")

    def user(self, name: str, project_id: str, *roles: str) -> None:
        """Make a user who has these roles in that project."""
        id = self.make("user", name=name, domain_id="default", password=PASSWORD)
        for role in roles:
            self._asked("PUT", f"/projects/{project_id}/users/{id}/roles/{self._role(role)}")

    def revoke(self, secret: str) -> None:
        answer = self._http.delete("/auth/tokens", headers={"X-Auth-Token": secret, "X-Subject-Token": secret})
        answer.raise_for_status()

    def token(self, user: str, project: str, *, scoped: bool = True) -> Token:
        """Log in with the password that all have."""
        by = {"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": "default"},
                                                             "password": PASSWORD}}}  # fmt: skip
        scope = {"project": {"name": project, "domain": {"id": "default"}}} if scoped else "unscoped"
        answer = self._http.post("/auth/tokens", json={"auth": {"identity": by, "scope": scope}})
        answer.raise_for_status()
        told = answer.json()["token"]
        return Token(answer.headers["X-Subject-Token"], told.get("project", {}).get("id", ""), told["user"]["id"])

    def clouds(self, user: str, project: str) -> dict[str, Any]:
        """Return what a clouds.yaml says of an account."""
        return {
            "auth": {"auth_url": self.url, "username": user, "password": PASSWORD, "project_name": project,
                     "user_domain_id": "default", "project_domain_id": "default"},
            "region_name": "RegionOne",
        }  # fmt: skip

    def _role(self, name: str) -> str:
        found = self._asked("GET", f"/roles?name={name}")["roles"]
        return found[0]["id"] if found else self.make("role", name=name)

    def _asked(self, method: str, path: str, body: object = None) -> Any:
        headers = {"X-Auth-Token": self.token("admin", "admin").secret}
        answer = self._http.request(method, path, json=body, headers=headers)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def keystone(folder: Path) -> Iterator[Keystone]:
    """Run Keystone on a new *folder*, with the account admin in the project admin."""
    if not (VENV / ".made-from").exists():
        subprocess.run([ROOT / "scripts" / "keystone"], check=True)
    shutil.copytree(FIRST, folder)
    configuration = folder / "keystone.conf"
    first = configuration.read_text()
    assert str(FIRST) in first, f"{configuration} would lead to another installation: remove {VENV}"
    configuration.write_text(first.replace(str(FIRST), str(folder)))
    running = Keystone(folder, _free_port())
    with closing(sqlite3.connect(folder / "keystone.db")) as database, database:
        # Keystone reads while it writes, on two connections: with a rollback journal it would wait for itself.
        database.execute("pragma journal_mode = wal")
        database.execute("update endpoint set url = ?", (running.url,))
    running.start()
    try:
        yield running
    finally:
        running.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
