"""Where a repository can be, and what is said about places where it cannot."""

import subprocess
import sys
from pathlib import Path

import pytest

from restead.app.stores import open_store, window_for
from restead.domain.errors import InvalidRequest
from restead.drivers.blobs import LocalBlobs, OneWriter
from restead.settings import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return Settings(data=tmp_path)


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "file://localhost{}"])
def test_a_folder_is_a_path_or_a_file_url(settings: Settings, tmp_path: Path, form: str) -> None:
    store = open_store(form.format(tmp_path / "a b").replace(" ", "%20" if form != "{}" else " "), settings)
    assert isinstance(store, LocalBlobs)
    store.put("log/1", b"x")
    assert (tmp_path / "a b" / "log" / "1").read_bytes() == b"x"


@pytest.mark.parametrize(
    "address",
    ["http://bucket/x", "s3://", "s3:///x", "s3://key:secret@bucket/x", "s3://bucket/x?y=1", "file://other/x", "gs://b",
     "s3://bucket:80/x", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/a b", "s3://bucket/ä", "s3://bucket/x#y"],
)
def test_other_places_are_refused(settings: Settings, address: str) -> None:
    with pytest.raises(InvalidRequest, match=r"no place for a repository|no folder of this machine"):
        open_store(address, settings)


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/some/Where_2/"])
def test_buckets_and_parts_of_them_are_places(settings: Settings, address: str) -> None:
    open_store(address, settings)


def test_a_bucket_is_written_by_one_where_it_must_be(settings: Settings) -> None:
    assert isinstance(open_store("s3://bucket/some/where", settings), OneWriter)


def test_a_bucket_without_obstore_says_what_is_missing(tmp_path: Path) -> None:
    """Everything else works without it."""
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from pathlib import Path\n"
        "from restead.app.stores import open_store\n"
        "from restead.settings import Settings\n"
        f"settings = Settings(data=Path({str(tmp_path)!r}))\n"
        f"open_store({str(tmp_path / 'x')!r}, settings)\n"
        "open_store('s3://bucket', settings)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "object storage needs the package obstore, which is not installed: pip install 'restead[s3]'" in done.stderr


@pytest.mark.parametrize("endpoint", ["http://s3.example.org", "http://10.1.2.3:9000", "http://[2001:db8::1]"])
def test_plain_http_stays_on_this_machine(settings: Settings, endpoint: str) -> None:
    with pytest.raises(InvalidRequest, match="would be spoken to without HTTPS"):
        open_store("s3://bucket", settings.model_copy(update={"s3_endpoint": endpoint}))
    open_store("s3://bucket", settings.model_copy(update={"s3_endpoint": endpoint, "s3_allow_http": True}))


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"])
def test_plain_http_is_spoken_on_this_machine(settings: Settings, endpoint: str) -> None:
    open_store("s3://bucket", settings.model_copy(update={"s3_endpoint": endpoint}))


def test_the_endpoint_of_the_environment_is_no_way_round(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.org")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with pytest.raises(InvalidRequest, match=r"s3\.example\.org would be spoken to without HTTPS"):
        open_store("s3://bucket", settings)


@pytest.mark.parametrize("endpoint", ["https://key:s3cret@s3.example.org", "ftp://s3.example.org", "s3.example.org"])
def test_an_endpoint_that_is_none_is_refused_without_repeating_it(settings: Settings, endpoint: str) -> None:
    """It may hold a secret."""
    with pytest.raises(InvalidRequest, match="endpoint of the S3 service") as caught:
        open_store("s3://bucket", settings.model_copy(update={"s3_endpoint": endpoint}))
    assert "s3cret" not in str(caught.value)


def test_a_profile_that_has_no_keys_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[other]\naws_access_key_id = a\naws_secret_access_key = s3cret\n")
    with pytest.raises(InvalidRequest, match="credentials holds no keys of profile backup") as caught:
        open_store("s3://bucket", settings.model_copy(update={"s3_profile": "backup"}))
    assert "s3cret" not in str(caught.value)
    open_store("s3://bucket", settings.model_copy(update={"s3_profile": "other"}))


def test_far_away_many_small_portions_are_under_way(settings: Settings, tmp_path: Path) -> None:
    """And on a disk few large ones."""
    near, far = window_for(str(tmp_path), settings), window_for("s3://bucket", settings)
    assert (near.restore_threads, near.portion, near.span, near.ahead) == (4, 2 << 20, 4 << 20, 0)
    assert (far.restore_threads, far.portion, far.ahead) == (32, 2 << 20, 32)
    assert far.portion < far.span < far.portion + (64 << 10)  # what does not compress is one request
    assert (near.whole, far.whole, far.whole_threads) == (0, 8 << 20, 8)
    assert far.restore_threads * far.portion < far.unmarked


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTEAD_STORE", "s3://bucket/x")
    monkeypatch.setenv("RESTEAD_S3_REQUESTS", "7")
    found = read_settings()
    assert (found.store, found.s3_requests) == ("s3://bucket/x", 7)


def test_how_much_a_request_asks_for_is_the_operator_s_to_say(settings: Settings) -> None:
    far = window_for("s3://bucket", settings.model_copy(update={"s3_request_size": 16 << 20}))
    assert (far.portion, far.whole, far.whole_threads) == (2 << 20, 16 << 20, 4)
    small = window_for("s3://bucket", settings.model_copy(update={"s3_request_size": 1 << 18}))
    assert (small.portion, small.whole, small.whole_threads) == (1 << 18, 1 << 18, 32)
    assert far.restore_threads * far.portion < far.unmarked
