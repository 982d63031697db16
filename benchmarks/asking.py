"""Ask a service over connections that stay open: `python -I -S asking.py URL TOKEN CONNECTIONS <requests`.

Requests are JSON on standard input, `[[method, path, body or null], …]`, shared out as connections become free.
Prints JSON: seconds from the first request to the last answer, and those of each request.  An answer that is no 200
ends it.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any


class _Connection(threading.Thread):
    """Asks one request after the other until none is left."""

    def __init__(self, host: str, token: str, requests: Iterator[tuple[str, str, bytes | None]]) -> None:
        super().__init__()
        self._http = http.client.HTTPConnection(host, timeout=120)
        self._http.connect()
        self._headers = {"X-Auth-Token": token}
        self._requests = requests
        self.seconds: list[float] = []
        self.wrong = ""

    def run(self) -> None:
        for method, path, body in self._requests:
            began = time.perf_counter()
            self._http.request(method, path, body, self._headers)
            answer = self._http.getresponse()
            said = answer.read()
            self.seconds.append(time.perf_counter() - began)
            if answer.status != 200:
                self.wrong = f"{method} {path}: {answer.status} {said.decode()}"
                return


class _Shared(Iterator[Any]):
    """An iterator for several threads."""

    def __init__(self, items: list[Any]) -> None:
        self._items, self._lock = iter(items), threading.Lock()

    def __next__(self) -> Any:
        with self._lock:
            return next(self._items)


def _main(url: str, token: str, connections: int) -> None:
    requests = [(m, p, None if body is None else json.dumps(body).encode()) for m, p, body in json.load(sys.stdin)]
    shared = _Shared(requests)
    threads = [_Connection(url.removeprefix("http://"), token, shared) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = time.perf_counter() - began
    if wrong := [thread.wrong for thread in threads if thread.wrong]:
        sys.exit(wrong[0])
    seconds = [each for thread in threads for each in thread.seconds]
    if len(seconds) != len(requests):
        sys.exit(f"{len(seconds)} of {len(requests)} requests were answered")
    print(json.dumps([whole, seconds]))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
