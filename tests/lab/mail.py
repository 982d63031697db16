"""A real mail server on this machine: aiosmtpd, with STARTTLS or TLS, and logging in."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

USER, PASSWORD = "restead", "correct horse battery"


@dataclass
class Mailbox:
    """What has come, and what is answered to those who send: by command, `250 OK` where nothing is said."""

    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    protected: list[bool] = field(default_factory=list)  # whether each came by TLS
    logins: list[bool] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # by address
    port: int = 0
    controller: Any = None

    async def handle_MAIL(self, _server: Any, session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        envelope.mail_from = address
        self.logins.append(bool(session.authenticated))
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: Any, _session: Any, envelope: Envelope) -> str:
        answer = self.answers.get("DATA", "250 taken")
        if answer.startswith("250"):
            content = cast(bytes, envelope.content)
            self.mails.append(cast(EmailMessage, message_from_bytes(content, policy=policy.default)))
            self.recipients.append(list(envelope.rcpt_tos))
            self.protected.append(server.transport.get_extra_info("ssl_object") is not None)
        return answer

    def go(self) -> None:
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    def text(self) -> str:
        """The text of the last mail."""
        return str(self.mails[-1].get_content()).replace("\r\n", "\n")


def _check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def mail_server(certificate: tuple[Path, Path] | None = None, *, tls: str = "starttls") -> Iterator[Mailbox]:
    """Listen on a free port; with a certificate nobody is heard who is not protected, and has not logged in."""
    box, context = Mailbox(), None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    login: dict[str, Any] = {} if context is None else {"authenticator": _check, "auth_required": True}
    if context is not None and tls == "starttls":
        login |= {"tls_context": context, "require_starttls": True}
    if tls == "tls":
        login |= {"ssl_context": context, "auth_require_tls": False}
    box.controller = Controller(box, hostname="127.0.0.1", port=_free_port(), server_hostname="mail.test", **login)
    box.controller.start()
    box.port = box.controller.port
    yield box
    box.go()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
