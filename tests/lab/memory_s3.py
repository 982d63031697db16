"""As much of an S3 service as a repository asks for, in memory, and faster than anything that is measured with it.

It is the weather of a `FarAway` without anything behind it:

    with FarAway("", delay=0.05, weather=MemoryS3()) as way: …

Atomic, since it answers one request after another.  Signatures are not looked at.  As a program,
`python -m tests.lab.memory_s3 SECONDS`, it prints its address and serves until its input ends.
"""

import hashlib
import re
import sys
from contextlib import suppress
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.lab.far_away import Answer, Asked, FarAway

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_WHEN = {"Last-Modified": "Thu, 26 Nov 2026 10:00:00 GMT"}


class MemoryS3:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._headers: dict[str, dict[str, str]] = {}

    def __call__(self, asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if not key:
            return self._list(bucket, parse_qs(parts.query))
        if asked.method == "PUT":
            return self._put(key, asked)
        if asked.method == "DELETE":
            self.objects.pop(key, None)
            return Answer(204)
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        return self._get(key, asked)

    def _put(self, key: str, asked: Asked) -> Answer:
        if asked.headers.get("if-none-match") == "*" and key in self.objects:
            return _error(412, "PreconditionFailed")
        self.objects[key] = asked.body
        marks = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}
        self._headers[key] = {**marks, **_WHEN, "ETag": f'"{hashlib.md5(key.encode()).hexdigest()}"'}
        return Answer(200, headers=self._headers[key])

    def _get(self, key: str, asked: Asked) -> Answer:
        whole, headers = memoryview(self.objects[key]), self._headers[key]
        found = _RANGE.fullmatch(asked.headers.get("range", ""))
        if not found:
            return Answer(200, whole, headers)
        start, end = int(found[1]), min(int(found[2]) + 1, len(whole))
        if start >= len(whole):
            return _error(416, "InvalidRange")
        return Answer(206, whole[start:end], {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(whole)}"})

    def _list(self, bucket: str, query: dict[str, list[str]]) -> Answer:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        names = sorted(name for name in self.objects if name.startswith(prefix) and name > after)
        page, more = names[:1000], len(names) > 1000
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.objects[name])}</Size>"
            "<LastModified>2026-11-26T10:00:00.000Z</LastModified></Contents>"
            for name in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        head = f"<Name>{bucket}</Name><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        return Answer(200, f"<ListBucketResult>{head}{rows}</ListBucketResult>".encode())


def _error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())


if __name__ == "__main__":
    with FarAway("", delay=float(sys.argv[1]), weather=MemoryS3(), remember=False) as way, suppress(KeyboardInterrupt):
        print(way.url, flush=True)
        sys.stdin.read()
