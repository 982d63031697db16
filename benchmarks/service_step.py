"""One step through a running service: `python -I -S service_step.py URL TOKEN PROJECT SERVER backup|restore|bare`.

`bare` restores without keeping what is overwritten.

A client as small as one can be: what it costs is the service, and up to 10 ms of asking whether it is done.
"""

import http.client
import json
import sys
import time
from typing import Any

PROVIDER = "fc4d5750-22e7-4798-8a46-f48f62c4c1da"  # CSBS: the fixed provider id
PAUSE = 0.01  # seconds


class Client:
    def __init__(self, url: str, token: str, project: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"))
        self._headers = {"X-Auth-Token": token}
        self._prefix = f"/v1/{project}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer's JSON.  Raises RuntimeError if it is an error."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, self._prefix + path, data, self._headers)
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {found}")
        return found

    def newest(self, server: str) -> Any:
        """Return the newest backup that is not what a restore has overwritten."""
        found = self.call("GET", f"/checkpoint_items?resource_id={server}")["checkpoint_items"]
        return next(item for item in found if not item["name"].startswith("prerestore_"))

    def back_up(self, server: str) -> None:
        """Return when the server is backed up.  Raises RuntimeError if it could not be."""
        self.call("POST", f"/providers/{PROVIDER}/resources/{server}/action", {"protect": {}})
        while (backup := self.newest(server))["status"] == "protecting":
            time.sleep(PAUSE)
        if backup["status"] != "available":
            raise RuntimeError(str(backup))

    def wanted(self, server: str, *, safety: bool = True) -> Any:
        """Return what to ask for, so that the newest backup is restored to the server's disk."""
        backup = self.newest(server)
        volumes = [
            {"backup_id": one["id"], "volume_id": one["source_volume_id"]}
            for one in backup["extend_info"]["volume_backups"]
        ]
        targets = {"server_id": server, "volumes": volumes}
        parameters = {"checkpoint_item_id": backup["id"], "power_on": False, "targets": targets, "safety": safety}
        return {"provider_id": PROVIDER, "checkpoint_id": backup["checkpoint_id"], "parameters": parameters}

    def begin_restore(self, server: str, *, safety: bool = True) -> Any:
        """Begin to restore the newest backup to the server's disk; return the restore."""
        return self.call("POST", "/restores", {"restore": self.wanted(server, safety=safety)})["restore"]

    def restore(self, server: str, *, safety: bool = True) -> None:
        """Return when the newest backup is on the server's disk.  Raises RuntimeError if it could not be put there."""
        restore = self.begin_restore(server, safety=safety)
        while restore["status"] == "in_progress":
            time.sleep(PAUSE)
            restore = self.call("GET", f"/restores/{restore['id']}")["restore"]
        if restore["status"] != "success":
            raise RuntimeError(str(restore))


if __name__ == "__main__":
    _url, _token, _project, _server, _step = sys.argv[1:]
    _client = Client(_url, _token, _project)
    if _step == "backup":
        _client.back_up(_server)
    else:
        _client.restore(_server, safety=_step != "bare")
