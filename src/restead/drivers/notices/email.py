"""Notices by e-mail: plain text, several in one, over a mail server that an operator has set."""

import hashlib
import smtplib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from pathlib import Path

from restead.domain.errors import InvalidRequest
from restead.domain.notice import Answer, Hearing, Notice

_READY = 220  # RFC 5321, 4.2.2
_IN_FULL = 50  # notices of one mail; of more only their lines are shown
_LONGEST_SUBJECT = 160  # characters


class MailTls(StrEnum):
    """How the way to a mail server is protected."""

    STARTTLS = "starttls"
    TLS = "tls"  # from the first byte
    OFF = "off"


@dataclass(frozen=True, slots=True)
class MailServer:
    """Whom mail is handed to."""

    host: str
    port: int
    sender: str
    tls: MailTls = MailTls.STARTTLS
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None  # vouch for it instead of the usual authorities
    timeout: timedelta = timedelta(seconds=10)


def mail_to(server: MailServer, addresses: Sequence[str]) -> "Mail":
    """Return the way to those who read mail there.  Raises InvalidRequest: *ca* is no file of certificates."""
    try:
        tls = ssl.create_default_context(cafile=None if server.ca is None else str(server.ca))
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest(f"{server.ca} holds no certificates that can be used: {error}") from error
    return Mail(server, addresses, tls)


class Mail:
    """Implements `Notifier`: one mail for all that is sent at once, the same for every address."""

    def __init__(
        self, server: MailServer, addresses: Sequence[str], tls: ssl.SSLContext,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._server = server
        self._addresses = tuple(addresses)
        self._tls = tls
        self._now = now

    def send(self, notices: Sequence[Notice]) -> Answer:
        message = self._message(notices)
        try:
            with self._connected() as smtp:
                refused = smtp.send_message(message, self._server.sender, self._addresses)
        except smtplib.SMTPRecipientsRefused as error:
            return _refused(error.recipients)
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPConnectError) as error:  # whatever the mail: it is our way
            return Answer(Hearing.LATER, _line(error.smtp_code, error.smtp_error))
        except smtplib.SMTPResponseException as error:
            return Answer(_hearing(error.smtp_code), _line(error.smtp_code, error.smtp_error))
        except (smtplib.SMTPException, OSError, ValueError) as error:
            return Answer(Hearing.LATER, f"no answer: {type(error).__name__}: {error}")
        if refused:  # some have it: sending again would bring it to them twice, for as long as the others refuse
            return Answer(Hearing.TAKEN, f"taken, but not for {_refused(refused).said}")
        return Answer(Hearing.TAKEN, "taken by the mail server")

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """Speak to the server, protected and logged in as set; what takes too long as a whole is cut off."""
        there, seconds = self._server, self._server.timeout.total_seconds()
        if there.tls is MailTls.TLS:
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(timeout=seconds, context=self._tls)
        else:
            smtp = smtplib.SMTP(timeout=seconds)
        # Timeouts of a socket are for each byte: only this ends a server that sends one now and then.
        deadline = threading.Timer(seconds * 2, lambda: _cut(smtp))
        deadline.daemon = True
        deadline.start()
        try:
            smtp._host = there.host  # type: ignore[attr-defined]  # whose certificate it is; smtplib sets it only if it
            code, said = smtp.connect(there.host, there.port)  # connects in its constructor, before we hold the socket
            if code != _READY:
                raise smtplib.SMTPConnectError(code, said)
            if there.tls is MailTls.STARTTLS:
                smtp.starttls(context=self._tls)
            if there.user:
                smtp.login(there.user, there.password)
            yield smtp
            # It is taken: what comes of saying goodbye changes nothing.
            with _ignored():
                smtp.quit()
        finally:
            deadline.cancel()
            smtp.close()

    def _message(self, notices: Sequence[Notice]) -> EmailMessage:
        message = EmailMessage(SMTP)
        message["From"] = self._server.sender
        message["To"] = ", ".join(self._addresses)
        message["Subject"] = subject(notices)
        message["Date"] = format_datetime(self._now())
        digest = hashlib.sha256(" ".join(each.id for each in notices).encode()).hexdigest()
        message["Message-ID"] = f"<{digest[:32]}@restead.invalid>"  # the same if it is sent again
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is answered
        message.set_content(text(notices))
        return message


def subject(notices: Sequence[Notice]) -> str:
    """Return what stands in a list of mails."""
    if len(notices) == 1:
        return f"[restead] {notices[0].summary}"[:_LONGEST_SUBJECT]
    counted = ", ".join(f"{number} × {kind}" for kind, number in Counter(each.kind.value for each in notices).items())
    return f"[restead] {len(notices)} notices: {counted}"[:_LONGEST_SUBJECT]


def text(notices: Sequence[Notice]) -> str:
    """Return the mail: what happened, oldest first; of many only the first with all that is told of them."""
    lines = [f"{each.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC  {each.kind.value}  {each.summary}" for each in notices]
    details = ["\n".join([lines[at], *_details(each)]) for at, each in enumerate(notices[:_IN_FULL])]
    return "\n\n".join([*details, *(["\n".join(lines[_IN_FULL:])] if len(notices) > _IN_FULL else [])]) + "\n"


def _details(notice: Notice) -> Iterator[str]:
    told = {"project_id": notice.project_id, **notice.facts, "notice": notice.id}
    for name, value in told.items():
        if value not in ("", None, []):
            shown = "".join(c if c.isprintable() else " " for c in str(value))
            yield f"    {name}: {shown}"


def _refused(recipients: dict[str, tuple[int, bytes]]) -> Answer:
    code = max((code for code, _ in recipients.values()), default=0)
    return Answer(_hearing(code), "; ".join(f"{who}: {_line(*why)}" for who, why in recipients.items()))


def _hearing(code: int) -> Hearing:
    """RFC 5321: 5yz is permanent, 4yz passes."""
    return Hearing.REFUSED if 500 <= code < 600 else Hearing.LATER


def _line(code: int, said: bytes | str) -> str:
    words = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} " + "".join(c if c.isprintable() else " " for c in words)[:200]


def _cut(smtp: smtplib.SMTP) -> None:
    """Let whoever waits for the server meet the end of the connection; the descriptor stays theirs to close."""
    open_socket = smtp.sock
    if open_socket is not None:
        with _ignored():
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except (smtplib.SMTPException, OSError):
        pass
