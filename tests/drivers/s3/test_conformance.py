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


class TestSwift(BlobStoreConformance):
    """Which lets two puts of a name win: so one data folder writes, and its threads take turns."""

    RACES, MANY = 2, 40

    @pytest.fixture
    def store(self, swift_bucket: Bucket, keys: Keys, tmp_path: Path) -> BlobStore:
        keys.to(swift_bucket)
        return one_writer(store_in(swift_bucket), tmp_path / "data")
