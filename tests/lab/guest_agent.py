"""A guest's agent without a guest: as much of qemu-guest-agent as a backup asks for, with moods.

    agent = FakeAgent(path)          # listens there; `close` ends it
    agent.mood = "hangs"             # well, hangs (answers no freeze until `go_on`), fails, deaf

It does what it is told in order, one line after the other, and what was told by somebody who has hung up as well.
"""

import json
import queue
import socket
import threading
from pathlib import Path
from typing import Any


class FakeAgent:
    def __init__(self, path: Path) -> None:
        self.mood = "well"
        self.frozen = False
        self.told: list[str] = []
        self._free = threading.Event()
        self._lines: queue.Queue[tuple[socket.socket, bytes] | None] = queue.Queue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        for work in (self._accept, self._work):
            threading.Thread(target=work, daemon=True).start()

    def go_on(self) -> None:
        """Let a freeze that hangs be done."""
        self._free.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._free.set()
        self._lines.put(None)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._listen, args=(sock,), daemon=True).start()

    def _listen(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as lines:
            for line in lines:
                self._lines.put((sock, line))

    def _work(self) -> None:
        while (item := self._lines.get()) is not None:
            sock, line = item
            asked = json.loads(line.replace(b"\xff", b""))
            if self.mood == "deaf":
                continue
            answer = self._answer(asked["execute"], asked.get("arguments", {}))
            try:
                sock.sendall((b"\xff" if "sync" in asked["execute"] else b"") + json.dumps(answer).encode() + b"\n")
            except OSError:  # who asked has hung up; it is done all the same
                pass

    def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, object]:
        if command == "guest-sync-delimited":
            return {"return": arguments["id"]}
        self.told.append(command.removeprefix("guest-fsfreeze-"))
        if command == "guest-fsfreeze-freeze":
            if self.mood == "fails":
                return {"error": {"class": "GenericError", "desc": "no file system can be frozen"}}
            if self.mood == "hangs":
                self._free.wait()
            self.frozen = True
            return {"return": 2}
        if command == "guest-fsfreeze-thaw":
            count, self.frozen = (2 if self.frozen else 0), False
            return {"return": count}
        return {"return": "frozen" if self.frozen else "thawed"}
