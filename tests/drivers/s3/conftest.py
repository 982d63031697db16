"""The S3 services that tests of this folder share, each started once, and keys to them in the environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.bucket import Bucket
from tests.lab.s3 import moto
from tests.lab.swift import swift


@pytest.fixture(scope="session")
def swift_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with swift(tmp_path_factory.mktemp("swift")) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def moto_bucket() -> Iterator[Bucket]:
    with moto() as bucket:
        yield bucket


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Keys":
    """Lets this process use a bucket, as an operator does: by the environment."""
    return Keys(monkeypatch)


class Keys:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)

    def to(self, bucket: Bucket) -> None:
        for name, value in bucket.environment.items():
            self._patch.setenv(name, value)
