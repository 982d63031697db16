"""Notices by mail: to a real server, protected, logged in, and several in one."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from tests.conformance.notifier import AWKWARD, NotifierSuite, notice
from tests.lab.certificates import certificate
from tests.lab.mail import PASSWORD, USER, Mailbox, mail_server
from tests.lab.webhooks import webhook_receiver

from restead.domain.errors import InvalidRequest
from restead.domain.notice import Hearing, NoticeKind
from restead.drivers.notices import MailServer, MailTls, mail_to
from restead.drivers.notices.email import Mail
from restead.ports import Notifier

_SHORT = timedelta(seconds=0.4)
_LONG = timedelta(seconds=20)


def mail(port: int, *to: str, tls: MailTls = MailTls.OFF, timeout: timedelta = _LONG, **more: object) -> Mail:
    server = MailServer("127.0.0.1", port, "backup@example.org", tls, timeout=timeout, **more)  # type: ignore[arg-type]
    return mail_to(server, to or ("ops@example.org",))


class _Odd:
    """Speaks no SMTP: greets with some bytes, ten in a second, and says no more; None: it hangs up."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.greeting: bytes | None = b""
        self.ending = threading.Event()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        while not self.ending.is_set():
            with suppress(OSError):
                connection, _ = self.listener.accept()
                threading.Thread(target=self._greet, args=[connection], daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.greeting is None:
                return
            if self.greeting.endswith(b"\n"):
                connection.sendall(self.greeting)
            for at in range(len(self.greeting)):
                connection.sendall(self.greeting[at : at + 1])
                if self.ending.wait(0.1):
                    return
            self.ending.wait(20)


@contextmanager
def _no_mail_server() -> Iterator[_Odd]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        odd = _Odd(listener)
        threading.Thread(target=odd.serve, daemon=True).start()
        yield odd
        odd.ending.set()
        listener.shutdown(socket.SHUT_RDWR)


class _Receiver:
    """The suite's receiver: a real server; what a real one does not do is done by one that speaks no SMTP."""

    def __init__(self, box: Mailbox, odd: _Odd) -> None:
        self.box = box
        self.odd = odd
        self.notifier: Notifier = mail(box.port)

    def received(self) -> list[str]:
        return [line.split(": ")[1] for each in self.box.mails for line in str(each.get_content()).splitlines()
                if line.startswith("    notice: ")]  # fmt: skip

    def be(self, mood: str) -> None:
        self.box.answers = {"busy": {"DATA": "451 not now"}, "against": {"MAIL": "550 no"}}.get(mood, {})
        self.notifier = mail(self.box.port)
        if mood in ("silent", "slow", "gone"):
            self.notifier = mail(self.odd.port, timeout=_SHORT)
            self.odd.greeting = {"silent": b"", "slow": b"2" * 1000, "gone": None}[mood]
        if mood == "away":
            self.box.go()


class TestMail(NotifierSuite):
    @pytest.fixture
    def receiver(self) -> Iterator[_Receiver]:
        with mail_server() as box, _no_mail_server() as odd:
            yield _Receiver(box, odd)


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as found:
        yield found


def test_one_notice_is_one_mail(box: Mailbox) -> None:
    assert mail(box.port, "a@example.org", "b@example.org").send([notice(7)]).said == "taken by the mail server"
    found = box.mails[0]
    assert box.recipients == [["a@example.org", "b@example.org"]]
    assert (found["From"], found["To"]) == ("backup@example.org", "a@example.org, b@example.org")
    assert found["Subject"] == "[restead] the backup of server server_name of 7 failed: reason of 7"
    assert (found["Auto-Submitted"], found.get_content_type()) == ("auto-generated", "text/plain")
    assert parsedate_to_datetime(found["Date"])
    assert box.text().startswith("2026-03-02 10:15:07 UTC  backup.failed  the backup of server")
    assert "    code: code of 7\n" in box.text()


def test_two_hundred_are_one_mail_too(box: Mailbox) -> None:
    """The first with all that is told, the rest by a line each; what they are stands in the subject."""
    found = [notice(number) for number in range(1, 200)] + [notice(200, NoticeKind.RESTORE_SUCCEEDED)]
    assert mail(box.port).send(found).hearing is Hearing.TAKEN
    assert box.mails[0]["Subject"] == "[restead] 200 notices: 199 × backup.failed, 1 × restore.succeeded"
    assert len(box.mails) == 1
    assert box.text().count("    notice: ") == 50
    assert all(each.summary in box.text() for each in found)


def test_the_same_mail_has_the_same_id(box: Mailbox) -> None:
    sender = mail(box.port)
    for found in ([notice(1), notice(2)], [notice(1), notice(2)], [notice(1)]):
        sender.send(found)
    first, second, third = (each["Message-ID"] for each in box.mails)
    assert first == second != third


def test_no_name_puts_anything_into_a_header(box: Mailbox) -> None:
    mail(box.port).send([notice(1, server_name=AWKWARD, reason=AWKWARD)])
    assert "Bcc" not in box.mails[0]
    assert box.recipients == [["ops@example.org"]]
    assert box.mails[0]["Subject"].startswith("[restead] the backup of server Ünï ☃")


@pytest.mark.parametrize("tls", [MailTls.STARTTLS, MailTls.TLS])
def test_it_logs_in_and_is_protected(tmp_path: Path, tls: MailTls) -> None:
    cert, key = certificate(tmp_path)
    with mail_server((cert, key), tls=tls.value) as box:
        sender = mail(box.port, tls=tls, user=USER, password=PASSWORD, ca=cert)
        assert sender.send([notice()]).hearing is Hearing.TAKEN
        assert (box.protected, box.logins) == ([True], [True])


def test_who_is_not_who_they_say_gets_nothing(tmp_path: Path) -> None:
    """Neither mail nor password goes to a server that no authority vouches for, or that offers no STARTTLS."""
    cert, key = certificate(tmp_path)
    with mail_server((cert, key)) as box, mail_server() as plain:
        stranger = mail(box.port, tls=MailTls.STARTTLS, user=USER, password=PASSWORD).send([notice()])
        assert stranger.hearing is Hearing.LATER
        assert "certificate" in stranger.said.lower()
        bare = mail(plain.port, tls=MailTls.STARTTLS, ca=cert).send([notice()])
        assert (bare.hearing, "STARTTLS" in bare.said) == (Hearing.LATER, True)
        assert (box.logins, plain.logins, box.mails, plain.mails) == ([], [], [], [])


def test_a_wrong_password_may_be_repaired(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with mail_server((cert, key)) as box:
        sender = mail(box.port, tls=MailTls.STARTTLS, user=USER, password="wrong " + PASSWORD, ca=cert)
        answer = sender.send([notice()])
    assert (answer.hearing, answer.said[:3]) == (Hearing.LATER, "535")
    assert PASSWORD not in answer.said
    assert PASSWORD not in repr(sender._server)


def test_some_of_the_addresses_are_enough(box: Mailbox) -> None:
    """Sending again would bring it twice to those who have it."""
    box.refused = {"gone@example.org": "550 unknown"}
    answer = mail(box.port, "gone@example.org", "ops@example.org").send([notice()])
    assert (answer.hearing, answer.said) == (Hearing.TAKEN, "taken, but not for gone@example.org: 550 unknown")
    answer = mail(box.port, "gone@example.org").send([notice()])
    assert (answer.hearing, answer.said) == (Hearing.REFUSED, "gone@example.org: 550 unknown")
    box.refused = {"gone@example.org": "450 full"}
    assert mail(box.port, "gone@example.org").send([notice()]).hearing is Hearing.LATER


@pytest.mark.parametrize("greeting", ["554 no service here", "421 too many", "999"])
def test_a_server_that_will_not_speak_is_none(greeting: str) -> None:
    with _no_mail_server() as odd:
        odd.greeting = greeting.encode() + b"\r\n"
        answer = mail(odd.port, timeout=_SHORT).send([notice()])
    assert (answer.hearing, greeting[:3] in answer.said) == (Hearing.LATER, True)


def test_a_server_that_says_a_byte_now_and_then_is_cut_off() -> None:
    with _no_mail_server() as odd:
        odd.greeting = b"2" * 1000
        began = time.monotonic()
        answer = mail(odd.port, timeout=_SHORT).send([notice()])
    assert answer.hearing is Hearing.LATER
    assert time.monotonic() - began < 60  # each byte comes within the timeout, all of them in 100 seconds


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(InvalidRequest, match=r"ca\.pem holds no certificates"):
        mail(25, ca=tmp_path / "ca.pem")


def test_what_speaks_http_is_no_mail_server() -> None:
    with webhook_receiver() as there:
        answer = mail(there.listener.getsockname()[1], timeout=_SHORT).send([notice()])
    assert answer.hearing is Hearing.LATER
