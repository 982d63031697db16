"""The service as a process, its command line, and its API, all used as anybody would."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from demo.stage import NotProven, prove

PROJECT = "demo"
PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"  # the fixed id of this kind of backup in the published interface
_PATIENCE = 180.0

RESTEAD = Path(sys.executable).with_name("restead")
Json = dict[str, Any]


def environment(data: Path) -> dict[str, str]:
    """The environment of every command: sockets stay in the demonstration's own folder."""
    return {**os.environ, "RESTEAD_DATA": str(data), "RESTEAD_RUNTIME": str(data.parent / "run")}


class Service:
    """A running service on a data folder of its own."""

    def __init__(self, data: Path, url: str) -> None:
        self.data = data
        self.url = url
        self._http = httpx2.Client(base_url=f"{url}/v1/{PROJECT}", timeout=30)

    def restead(self, *words: str) -> str:
        """Run `restead WORDS` on the service's data folder and return what it prints."""
        return _restead(self.data, *words)

    def use_token(self) -> None:
        self._http.headers["X-Auth-Token"] = self.restead("token", "create", "--project", PROJECT).split()[-1]

    def get(self, path: str) -> Json:
        return _answer(self._http.get(path))

    def post(self, path: str, body: Json) -> Json:
        return _answer(self._http.post(path, json=body))

    def post_text(self, path: str, body: str) -> Json:
        """Send exactly this text."""
        return _answer(self._http.post(path, content=body.encode(), headers={"Content-Type": "application/json"}))

    def follow(self, path: str, name: str, under_way: str) -> Iterator[Json]:
        """Yield what stands at *path* until its status is no longer *under_way*."""
        until = time.monotonic() + _PATIENCE
        while True:
            found: Json = self.get(path)[name]
            yield found
            if found["status"] != under_way:
                return
            prove(time.monotonic() < until, f"{name} is still {under_way} after {_PATIENCE:g} s")
            time.sleep(0.05)


@contextmanager
def running_service(data: Path, log: Path) -> Iterator[Service]:
    """Start a service on a free port of this machine; it is ended, and waited for, in the end."""
    with log.open("wb") as errors:
        command = [str(RESTEAD), "serve", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, env=environment(data)
        )
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()  # "listening on http://…", or nothing if it ended
            prove(ready.startswith("listening on "), f"the service did not start: {log.read_text()[-500:]}")
            yield Service(data, ready.split()[-1])
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _restead(data: Path, *words: str) -> str:
    done = subprocess.run([RESTEAD, *words], capture_output=True, text=True, check=False, env=environment(data))
    prove(done.returncode == 0, f"restead {' '.join(words[:2])} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _answer(response: httpx2.Response) -> Json:
    if not response.is_success:
        raise NotProven(f"{response.request.method} {response.request.url.path}: {response.text}")
    body: Json = response.json()
    return body
