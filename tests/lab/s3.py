"""S3 services that run for tests, and stores in them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer
from tests.lab.bucket import Bucket

from restead.drivers.blobs import OneWriter, Writer
from restead.drivers.blobs.s3 import S3Blobs
from restead.drivers.blobs.s3_service import S3Service


@contextmanager
def moto() -> Iterator[Bucket]:
    """Run moto's S3 service, which is all in memory, in threads of this process; yield a bucket in it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = Bucket(f"http://{host}:{port}", "backups", "moto", "moto-secret-of-the-tests")
        bucket.make()
        yield bucket
    finally:
        server.stop()


def store_in(bucket: Bucket, *, endpoint: str = "", prefix: str = "", retries: int = 2, timeout: float = 30) -> S3Blobs:
    """A store in a part of the bucket that nobody else has, perhaps reached by another way.

    Keys come from the environment: `bucket.environment`.
    """
    part, way = prefix or secrets.token_hex(4), endpoint or bucket.endpoint
    return S3Blobs(S3Service(bucket.name, part, way, retries=retries, timeout=timeout))


def one_writer(store: S3Blobs, folder: Path, *, id: str = "me", host: str = "here") -> OneWriter:
    """What the service makes of such a store: this data folder's way to it."""
    folder.mkdir(exist_ok=True)
    return OneWriter(store, "s3://backups", Writer(id, host, folder.name), folder / "writer.lock", settling=0.05)
