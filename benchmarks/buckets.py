"""An S3 service on this machine, and a way to it on which every request takes longer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from restead.drivers.blobs.s3 import S3Blobs
from restead.drivers.blobs.s3_service import S3Service

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket; keys to it are in the environment of this process."""

    endpoint: str
    name: str

    def stored(self, prefix: str) -> int:
        """Return how many bytes the objects hold whose keys begin so."""
        whole = S3Blobs(S3Service(self.name, endpoint=self.endpoint))
        return sum(size for name, size in whole.list("") if name.startswith(prefix))


@contextmanager
def bucket_in(folder: Path) -> Iterator[Bucket]:
    """Run OpenStack Swift with its S3 door on *folder*; keys to the bucket that is yielded go into the environment."""
    folder.mkdir()
    with _running("tests.lab.swift", folder) as said:
        about = json.loads(said)
        os.environ.update(AWS_ACCESS_KEY_ID=about["user"], AWS_SECRET_ACCESS_KEY=about["secret"])
        yield Bucket(about["endpoint"], about["name"])


@contextmanager
def farther(bucket: Bucket, seconds: float) -> Iterator[Bucket]:
    """Yield the same bucket where every request takes so much longer, by the way to it."""
    if not seconds:
        yield bucket
        return
    with _running("tests.lab.far_away", bucket.endpoint, seconds) as url:
        yield Bucket(url, bucket.name)


@contextmanager
def _running(module: str, *arguments: object) -> Iterator[str]:
    """Run a program until the block is left; yield the first line that it says."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            if not line:
                raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}")
            yield line
        finally:
            process.stdin.close()
            process.wait(60)
