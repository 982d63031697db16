"""The BlobStore suite against S3 services: moto's, and OpenStack Swift's S3 door, as the service uses it."""

from pathlib import Path

import pytest
from tests.conformance.blob_store import BlobStoreConformance
from tests.drivers.s3.conftest import Keys
from tests.lab.bucket import Bucket
from tests.lab.s3 import one_writer, store_in

from restead.ports import BlobStore


class TestMoto(BlobStoreConformance):
    RACES, MANY = 4, 40

    @pytest.fixture
    def store(self, moto_bucket: Bucket, keys: Keys) -> BlobStore:
        keys.to(moto_bucket)
        return store_in(moto_bucket)


@pytest.fixture(scope="module")
def claim(swift_bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a first put found out, once for all tests on Swift: racing takes longer than they do."""
    with pytest.MonkeyPatch.context() as patch:
        Keys(patch).to(swift_bucket)
        store = store_in(swift_bucket)
        one_writer(store, tmp_path_factory.mktemp("first") / "data").put("log/1", b"")
        return store.get("writers/1")


class TestSwift(BlobStoreConformance):
    """Which lets two puts of a name win: so one data folder writes, and its threads take turns."""

    RACES, MANY = 1, 20

    @pytest.fixture
    def store(self, swift_bucket: Bucket, keys: Keys, tmp_path: Path, claim: bytes) -> BlobStore:
        keys.to(swift_bucket)
        store = store_in(swift_bucket)
        store.put("writers/1", claim)
        return one_writer(store, tmp_path / "data")
