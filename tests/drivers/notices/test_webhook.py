"""Webhooks: signed so that the convention's own library accepts them, and safe from whoever receives them."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as Judge
from standardwebhooks.webhooks import WebhookVerificationError
from tests.conformance.notifier import SECRETS, NotifierSuite, notice
from tests.lab.certificates import certificate
from tests.lab.webhooks import WebhookReceiver, webhook_receiver

from restead.domain.errors import InvalidRequest
from restead.domain.notice import Hearing
from restead.drivers.notices import Webhook, signing_key
from restead.ports import Notifier

_OLD, _NEW = base64.b64encode(b"o" * 32).decode(), base64.b64encode(b"n" * 32).decode()
_SHORT = timedelta(seconds=0.7)


class _Receiver:
    """The suite's receiver: a real one, and the way to it."""

    def __init__(self, there: WebhookReceiver) -> None:
        self.there = there
        self.notifier: Notifier = Webhook(there.url, [signing_key(SECRETS[0])], timeout=_SHORT)

    def received(self) -> list[str]:
        return [call.headers["webhook-id"] for call in self.there.calls]

    def be(self, mood: str) -> None:
        self.there.silent, self.there.drip = mood == "silent", int(mood == "slow")
        self.there.status({"busy": "503 Busy", "against": "400 Bad Request"}.get(mood, "204 No Content"))
        if mood == "gone":
            self.there.answer = b""
        if mood == "away":
            self.there.go()


class TestWebhook(NotifierSuite):
    @pytest.fixture
    def receiver(self) -> Iterator[_Receiver]:
        with webhook_receiver() as there:
            yield _Receiver(there)


@pytest.fixture
def there() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as found:
        yield found


def webhook(there: WebhookReceiver, *secrets: str, **more: object) -> Webhook:
    keys = [signing_key(secret) for secret in secrets or (_OLD,)]
    return Webhook(there.url, keys, **{"timeout": _SHORT, **more})  # type: ignore[arg-type]


def test_the_conventions_library_accepts_it(there: WebhookReceiver) -> None:
    """Whoever has any of the secrets; also while they are changed."""
    webhook(there, _OLD, _NEW).send([notice(7)])
    call = there.calls[0]
    assert (call.line, call.headers["content-type"]) == ("POST /hooks/token-in-the-path HTTP/1.1", "application/json")
    for secret in (_OLD, f"whsec_{_NEW}"):
        body = Judge(secret).verify(call.body, call.headers)
        assert body["type"] == "backup.failed"
        assert body["timestamp"] == "2026-03-02T10:15:07.000000Z"
        assert body["data"]["summary"] == "the backup of server server_name of 7 failed: reason of 7"
        assert (body["data"]["project_id"], body["data"]["number"], body["data"]["code"]) == ("p", 7, "code of 7")


def test_anything_else_is_found_out(there: WebhookReceiver) -> None:
    """A changed body, id or time, another secret, and a call that somebody plays again after minutes."""
    webhook(there).send([notice()])
    webhook(there, now=lambda: datetime.now(UTC) - timedelta(minutes=10)).send([notice()])
    call, old = there.calls
    later = {**call.headers, "webhook-timestamp": str(int(call.headers["webhook-timestamp"]) + 1)}
    for secret, body, headers in (
        (_NEW, call.body, call.headers),
        (_OLD, call.body.replace(b"reason", b"season"), call.headers),
        (_OLD, call.body, {**call.headers, "webhook-id": notice(2).id}),
        (_OLD, call.body, later),
        (_OLD, old.body, old.headers),
    ):
        with pytest.raises(WebhookVerificationError):
            Judge(secret).verify(body, headers)


def test_each_try_has_the_same_id_and_its_own_time(there: WebhookReceiver) -> None:
    times = iter([datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)])
    sender = webhook(there, now=lambda: next(times))
    there.status("500 Oops")
    sender.send([notice()])
    sender.send([notice()])
    first, second = there.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == notice().id
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 86_400


@pytest.mark.parametrize(
    ("status", "hearing"),
    [
        ("200 OK", Hearing.TAKEN), ("202 Accepted", Hearing.TAKEN), ("204 No Content", Hearing.TAKEN),
        ("302 Found", Hearing.REFUSED), ("400 No", Hearing.REFUSED), ("401 No", Hearing.REFUSED),
        ("404 No", Hearing.REFUSED), ("410 Gone", Hearing.REFUSED), ("408 Slow", Hearing.LATER),
        ("425 Early", Hearing.LATER), ("429 Often", Hearing.LATER), ("500 Oops", Hearing.LATER),
        ("503 Busy", Hearing.LATER),
    ],
)  # fmt: skip
def test_what_each_status_means(there: WebhookReceiver, status: str, hearing: Hearing) -> None:
    there.status(status, "Location: /elsewhere")
    answer = webhook(there).send([notice()])
    assert (answer.hearing, answer.said[:3], len(there.calls)) == (hearing, status[:3], 1)


def test_a_redirect_is_not_followed(there: WebhookReceiver) -> None:
    """Else whoever answers could send us, and what we tell, anywhere."""
    with webhook_receiver() as elsewhere:
        there.status("307 Temporary Redirect", f"Location: {elsewhere.url}")
        assert webhook(there).send([notice()]).hearing is Hearing.REFUSED
        assert elsewhere.calls == []


def test_they_may_say_how_long_to_wait(there: WebhookReceiver) -> None:
    for text, wait in (("120", 120), ("999999999999", 3600), ("soon", None), ("-5", None)):
        there.status("429 Too Many Requests", f"Retry-After: {text}")
        found = webhook(there).send([notice()]).wait
        assert found == (None if wait is None else timedelta(seconds=wait))


@pytest.mark.parametrize(
    "garbage",
    [b"\0\xff" * 50, b"HTTP/9.9 abc\r\n\r\n", b"HTTP/1.1 200", b"220 mail ESMTP\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6],
    ids=["noise", "version", "cut", "mail", "huge header"],
)  # fmt: skip
def test_garbage_is_no_answer(there: WebhookReceiver, garbage: bytes) -> None:
    there.answer = garbage
    assert webhook(there).send([notice()]).hearing is Hearing.LATER


def test_of_a_long_answer_only_the_beginning_is_read(there: WebhookReceiver) -> None:
    there.status("400 Bad Request", body="why\r\n" + "x" * 50_000_000)
    answer = webhook(there, timeout=timedelta(seconds=10)).send([notice()])
    assert answer.said.startswith("400 Bad Request: why  xxx")
    assert len(answer.said) < 300


@pytest.mark.parametrize("status", ["200", "302", "400", "500"])
def test_what_they_say_is_one_short_line(there: WebhookReceiver, status: str) -> None:
    """Operators read it on terminals, and it is kept with each try."""
    there.status(f"{status} \x1b[31mred\x07" + "x" * 60_000, body="\x1b[2Jwhy")
    said = webhook(there).send([notice()]).said
    assert said.startswith(f"{status}  [31mred xxx")
    assert said.isprintable()
    assert len(said) < 500


def test_an_address_that_nothing_can_be_sent_to_is_no_fault_of_ours() -> None:
    for port in (0, 65536, 99999):
        sender = Webhook(f"http://127.0.0.1:{port}/", [b"k" * 32], timeout=_SHORT)
        assert sender.send([notice()]).hearing is Hearing.LATER


def test_a_receiver_that_sends_a_byte_now_and_then_is_given_up(there: WebhookReceiver) -> None:
    """Else it would keep its thread for as long as it likes: each byte comes within the timeout."""
    there.drip = 1
    began = time.monotonic()
    assert webhook(there).send([notice()]).said == "no answer within 0.7 seconds"
    assert time.monotonic() - began < 60  # the whole answer takes seconds, and a header may be longer by far


def test_tls_is_verified(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with webhook_receiver((cert, key)) as there:
        refused = webhook(there, timeout=timedelta(seconds=5)).send([notice()])
        assert refused.hearing is Hearing.LATER
        assert "certificate" in refused.said.lower()
        assert there.calls == []
        assert webhook(there, timeout=timedelta(seconds=5), ca=cert).send([notice()]).hearing is Hearing.TAKEN


def test_nothing_of_the_address_is_said(there: WebhookReceiver) -> None:
    """Its path may be a password."""
    url = there.url
    there.go()
    answer = Webhook(url, [b"k" * 32], timeout=_SHORT).send([notice()])
    assert "token-in-the-path" not in answer.said
    assert "token-in-the-path" not in json.dumps(repr(answer))


@pytest.mark.parametrize("secret", ["", "no base64!", base64.b64encode(b"x" * 23).decode(), "whsec_", "ü" * 40])
def test_a_secret_that_protects_nothing_is_refused(secret: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        signing_key(secret)
    assert not secret or secret not in raised.value.message
