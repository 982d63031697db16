"""What the driver makes of a service that answers badly, late, partly or not at all."""

import os
import traceback
from collections.abc import Callable, Iterator

import pytest
from tests.conformance.blob_store import open_file
from tests.drivers.s3.conftest import Keys
from tests.lab.bucket import Bucket
from tests.lab.far_away import Answer, Asked, Cut, FarAway, LoseReply, Truncate, Wait
from tests.lab.s3 import store_in

from restead.domain.errors import NotFound, Unavailable
from restead.drivers.blobs.s3 import S3Blobs

RETRIES = 2
BODY = os.urandom(100_000)
Fault = Answer | Cut | LoseReply | Truncate | Wait

_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_DENIED = (
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message><AWSAccessKeyId>moto</AWSAccessKeyId>"
    b"<StringToSign>AWS4 moto-secret-of-the-tests</StringToSign></Error>"
)
_NO_BUCKET = b"<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>"


class Sky:
    """Weather for requests of some methods: each fault of *faults* once, or the only one for ever."""

    def __init__(self, *faults: Fault, methods: str = "GET PUT DELETE HEAD", forever: bool = False) -> None:
        self._faults = list(faults)
        self._methods = methods.split()
        self._forever = forever

    def __call__(self, asked: Asked) -> Fault | None:
        if asked.method not in self._methods or not self._faults:
            return None
        return self._faults[0] if self._forever else self._faults.pop(0)


@pytest.fixture
def way(moto_bucket: Bucket, keys: Keys) -> Iterator[FarAway]:
    keys.to(moto_bucket)
    with FarAway(moto_bucket.endpoint) as way:
        yield way


@pytest.fixture
def store(moto_bucket: Bucket, way: FarAway) -> S3Blobs:
    store = store_in(moto_bucket, endpoint=way.url, retries=RETRIES, timeout=2)
    store.put("log/1", BODY)
    way.forget()
    return store


def _put_file(store: S3Blobs) -> bool:
    with open_file(BODY) as fd:
        return store.put_file("log/2", fd)


CALLS: dict[str, Callable[[S3Blobs], object]] = {
    "get": lambda store: store.get("log/1"),
    "range": lambda store: store.get_range("log/1", 10, 50_000),
    "list": lambda store: list(store.list("log/")),
    "put": lambda store: store.put("log/2", BODY),
    "put_file": _put_file,
    "delete": lambda store: store.delete("log/1"),
}
EXPECTED = {
    "get": BODY,
    "range": BODY[10:50_010],
    "list": [("log/1", len(BODY))],
    "put": True,
    "put_file": True,
    "delete": None,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [Answer(500), Answer(503, _BUSY), Cut()], ids=str)
def test_weather_that_passes_is_waited_for(store: S3Blobs, way: FarAway, call: str, fault: Fault) -> None:
    way.weather = Sky(fault, fault)
    assert CALLS[call](store) == EXPECTED[call]
    assert len(way.seen) == 3


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [Answer(500), Answer(503, _BUSY), Cut()], ids=str)
def test_weather_that_stays_is_unavailable_after_so_many_tries(
    store: S3Blobs, way: FarAway, call: str, fault: Fault
) -> None:
    way.weather = Sky(fault, forever=True)
    with pytest.raises(Unavailable, match=r"cannot be (reached|deleted) in s3://backups/"):
        CALLS[call](store)
    assert len(way.seen) == RETRIES + 1
    way.weather = Sky()
    assert [name for name, _ in store.list("")] == ["log/1"]


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_is_not_tried_again_and_says_why(store: S3Blobs, way: FarAway, call: str) -> None:
    way.weather = Sky(Answer(403, _DENIED), forever=True)
    with pytest.raises(Unavailable, match=r"403 \w+, AccessDenied, Access Denied$") as caught:
        CALLS[call](store)
    assert len(way.seen) == 1
    assert "moto" not in f"{caught.value} {caught.value.detail}"


def test_a_bucket_that_is_not_there_is_no_object_that_is_not_there(store: S3Blobs, way: FarAway) -> None:
    """Else everything would look as if nobody had ever written."""
    for answer in (Answer(404, _NO_BUCKET), Answer(404, b"<html>what are you looking for?</html>")):
        way.weather = Sky(answer, forever=True)
        for call in CALLS.values():
            if call is not CALLS["delete"]:
                with pytest.raises(Unavailable):
                    call(store)


@pytest.mark.parametrize("call", ["get", "range"])
def test_an_answer_that_breaks_off_is_asked_for_again(store: S3Blobs, way: FarAway, call: str) -> None:
    way.weather = Sky(Truncate(1000), methods="GET")
    assert CALLS[call](store) == EXPECTED[call]


@pytest.mark.parametrize("call", ["get", "range"])
def test_an_answer_that_always_breaks_off_is_unavailable(store: S3Blobs, way: FarAway, call: str) -> None:
    way.weather = Sky(Truncate(1000), methods="GET", forever=True)
    with pytest.raises(Unavailable, match="log/1"):
        CALLS[call](store)
    assert len(way.seen) <= 2 * (RETRIES + 1)


def test_a_range_that_is_answered_in_part_is_unavailable_not_damage(store: S3Blobs, way: FarAway) -> None:
    """The object is long enough: it is the answer that is not."""
    way.weather = Sky(Truncate(1000, quietly=True), methods="GET", forever=True)
    with pytest.raises(Unavailable, match=r"log/1.*(1000 bytes|cannot be reached)"):
        store.get_range("log/1", 10, 50_000)


@pytest.mark.parametrize("call", ["get", "range"])
def test_an_answer_that_never_comes_is_given_up(moto_bucket: Bucket, way: FarAway, store: S3Blobs, call: str) -> None:
    hasty = store_in(moto_bucket, endpoint=way.url, prefix="hasty", retries=1, timeout=0.3)
    hasty.put("log/1", BODY)
    way.forget()
    way.weather = Sky(Wait(60), methods="GET", forever=True)
    with pytest.raises(Unavailable, match="log/1 cannot be reached"):
        CALLS[call](hasty)
    assert len(way.seen) <= 2


def test_a_put_that_is_never_answered_is_given_up_and_its_file_let_go(moto_bucket: Bucket, way: FarAway) -> None:
    hasty = store_in(moto_bucket, endpoint=way.url, retries=1, timeout=0.03)  # a put gets ten times as long
    way.weather = Sky(Wait(60), methods="PUT", forever=True)
    with pytest.raises(Unavailable, match="log/2 cannot be reached"):
        _put_file(hasty)
    assert len(way.seen) == 2


@pytest.mark.parametrize("call", ["put", "put_file"])
@pytest.mark.parametrize("fault", [LoseReply(), LoseReply(500)], ids=str)
def test_a_put_whose_reply_was_lost_knows_itself(store: S3Blobs, way: FarAway, call: str, fault: Fault) -> None:
    """It is tried again, finds its name taken, and by its mark that it was itself."""
    way.weather = Sky(fault, methods="PUT")
    assert CALLS[call](store) is True
    assert [asked.method for asked in way.seen][:2] == ["PUT", "PUT"]
    assert store.get("log/2") == BODY


def test_a_put_whose_reply_was_lost_does_not_take_anothers_object_for_its_own(
    moto_bucket: Bucket, store: S3Blobs, way: FarAway
) -> None:
    """The same bytes do not make it the same put."""
    way.weather = Sky(Cut(), methods="PUT")  # it never came through, and meanwhile:
    other = store_in(moto_bucket, prefix=store._service.prefix)
    assert other.put("log/2", BODY) is True
    assert store.put("log/2", BODY) is False


def test_a_put_of_which_nothing_is_known_is_unavailable(store: S3Blobs, way: FarAway) -> None:
    way.weather = Sky(LoseReply(), methods="PUT", forever=True)
    with pytest.raises(Unavailable, match="log/2 cannot be reached"):
        store.put("log/2", BODY)
    assert store.get("log/2") == BODY  # after an error a put may still have happened


def test_a_conflict_is_tried_again(store: S3Blobs, way: FarAway) -> None:
    """Amazon's S3 answers 409 when puts of one name meet."""
    conflict = Answer(409, b"<Error><Code>ConditionalRequestConflict</Code><Message>meanwhile</Message></Error>")
    way.weather = Sky(conflict, methods="PUT")
    assert store.put("log/2", BODY) is True
    way.weather = Sky(conflict, methods="PUT", forever=True)
    with pytest.raises(Unavailable, match="log/3"):
        store.put("log/3", BODY)


def test_a_delete_whose_reply_was_lost_is_done_again(store: S3Blobs, way: FarAway) -> None:
    way.weather = Sky(LoseReply(), methods="DELETE")
    store.delete("log/1")
    with pytest.raises(NotFound):
        store.get("log/1")


def test_no_secret_is_shown(store: S3Blobs, way: FarAway, moto_bucket: Bucket) -> None:
    """Not by what is raised, nor by what it was raised from, nor by what the store says of itself."""
    way.weather = Sky(Answer(403, _DENIED), forever=True)
    with pytest.raises(Unavailable) as caught:
        store.get("log/1")
    told = "".join(traceback.format_exception(caught.value)) + str(caught.value.detail)
    assert "AccessDenied" in told
    assert moto_bucket.secret not in told + repr(store) + repr(vars(store)) + repr(store._service)
