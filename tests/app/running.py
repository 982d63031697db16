"""A real service process on a data folder, as tests use it."""

import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from tests.api.contract import as_published

RESTEAD = str(Path(sys.executable).with_name("restead"))
PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"
PROJECT = "p1"
_PATIENCE = 90.0  # seconds; a loaded machine is slow, and a hanging service fails all the same


def listen_to_ctrl_c() -> None:
    """To be called in a new process: the background of a script does not listen, and neither do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Place:
    """A data folder and what belongs to it; services on it come and go."""

    def __init__(self, folder: Path, project: str = PROJECT) -> None:
        self.folder = folder
        self.project = project
        self.data = folder / "data"
        self.log = folder / "service.log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RESTEAD_", "XDG_"))},
            "PATH": f"{Path(RESTEAD).parent}:{os.environ['PATH']}",
            "RESTEAD_DATA": str(self.data),
            "RESTEAD_RUNTIME": str(folder / "run"),
            "RESTEAD_LOG_LEVEL": "debug",
            "RESTEAD_PROJECT": project,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": "120",
        }

    def restead(self, *words: str, code: int = 0, stdin: str = "") -> str:
        """Run a command, which has to end with *code*; return its standard output."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == code, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def run(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [RESTEAD, *words], env=self.environment, capture_output=True, text=True, input=stdin, timeout=_PATIENCE
        )

    def run_into(self, output: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command that prints into that file."""
        with output.open("w") as file:
            errors = subprocess.PIPE
            return subprocess.run(
                [RESTEAD, *words], env=self.environment, stdout=file, stderr=errors, text=True, timeout=_PATIENCE
            )

    def token(self, role: str = "member") -> str:
        return self.restead("token", "create", "--project", self.project, "--role", role).split()[-1]

    def disk(self, name: str, size: int, *, seed: int) -> Path:
        """Make a disk: a third of it random bytes, the rest holes."""
        path, rng = self.folder / name, random.Random(seed)
        with path.open("wb") as file:
            for at in range(0, size - (1 << 20) + 1, 3 << 20):
                file.seek(at)
                file.write(rng.randbytes(min(1 << 20, size)))
            file.truncate(size)
        return path

    def log_lines(self) -> list[dict[str, Any]]:
        """The service's log, which is JSON lines since nobody watches."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


class Running:
    """A service that listens."""

    def __init__(self, place: Place, process: "subprocess.Popen[str]", url: str, ca: Path | None = None) -> None:
        self.place = place
        self.process = process
        self.url = url
        token = place.environment.get("RESTEAD_TOKEN") or place.token()
        place.environment.update(RESTEAD_URL=url, RESTEAD_TOKEN=token)
        self.http = httpx2.Client(
            base_url=f"{url}/v1/{place.project}",
            headers={"X-Auth-Token": token},
            timeout=30,
            event_hooks={"response": [as_published]},
            verify=ssl.create_default_context(cafile=str(ca)) if ca else True,
        )

    def get(self, path: str) -> Any:
        return self._answer(self.http.get(path))

    def post(self, path: str, body: object) -> Any:
        return self._answer(self.http.post(path, json=body))

    def _answer(self, response: httpx2.Response) -> Any:
        assert response.status_code == 200, response.text
        return response.json()

    def begin_backup(self, server_id: str, *, full: bool = False) -> str:
        """Ask for a backup, one that reads everything if it is *full*; return its id."""
        path = f"/providers/{PROVIDER}/resources/{server_id}/action"
        wanted = {"resource_type": "OS::Nova::Server", "incremental": not full}
        checkpoint = self.post(path, {"protect": wanted})["checkpoint"]
        found: str = self.get(f"/checkpoint_items?checkpoint_id={checkpoint['id']}")["checkpoint_items"][0]["id"]
        return found

    def backup(self, id: str) -> Any:
        return self.get(f"/checkpoint_items/{id}")["checkpoint_item"]

    def begin_restore(self, backup_id: str, *, power_on: bool = False) -> str:
        """Ask for a restore to where the backup came from; return its id."""
        backup = self.backup(backup_id)
        volumes = [
            {"backup_id": each["id"], "volume_id": each["source_volume_id"]}
            for each in backup["extend_info"]["volume_backups"]
        ]
        parameters = {
            "checkpoint_item_id": backup_id,
            "power_on": power_on,
            "targets": {"server_id": backup["resource_id"], "volumes": volumes},
        }
        body = {"provider_id": PROVIDER, "checkpoint_id": backup["checkpoint_id"], "parameters": parameters}
        found: str = self.post("/restores", {"restore": body})["restore"]["id"]
        return found

    def restore(self, id: str) -> Any:
        return self.get(f"/restores/{id}")["restore"]

    def wait_for_backup(self, id: str) -> Any:
        return _wait(lambda: self.backup(id), "protecting")

    def wait_for_restore(self, id: str) -> Any:
        return _wait(lambda: self.restore(id), "in_progress")

    def kill(self) -> None:
        """As a power cut does for the process: it gets no chance to do anything."""
        self.process.kill()
        self.process.wait()
        self.http.close()

    def end(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.http.close()
        return self.process.wait(_PATIENCE)


def _wait(look: Any, under_way: str) -> Any:
    until = time.monotonic() + _PATIENCE
    while (found := look())["status"] == under_way:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


@contextmanager
def service(place: Place, *flags: str, ca: Path | None = None) -> Iterator[Running]:
    """Run a service; it is gone when the block is left, however.  *ca*: what its certificate is checked against."""
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            [RESTEAD, "serve", "--listen", "127.0.0.1:0", *flags],
            env=place.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), f"{line!r} {place.log.read_text()[-2000:]}"
        running = Running(place, process, line.split()[-1], ca)
        yield running
        if process.poll() is None:
            assert running.end() == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
