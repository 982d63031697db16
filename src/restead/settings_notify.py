"""Who is told what happens, as the settings say it: webhooks and mail addresses, each with a name."""

import os
import stat
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from restead.domain.errors import InvalidRequest
from restead.domain.notice import NoticeKind, kinds_of

LOCAL = ("localhost", "127.0.0.1", "::1")


def _an_address(text: str) -> str:
    name, at, host = text.rpartition("@")
    if not (name and at and host) or not text.isprintable() or any(c in text for c in ' ,;<>"'):
        raise ValueError(f"{text!r} is no mail address such as backup@example.org")
    return text


def _can_be_posted_to(text: str) -> bool:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018  that it is a number, and not too large, is only found when it is asked for
    except ValueError:
        return False
    return url.scheme in ("https", "http") and bool(url.hostname) and text.isprintable() and " " not in text


MailAddress = Annotated[str, AfterValidator(_an_address)]
RecipientName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class RecipientSettings(BaseModel):
    """Somebody who is told: by webhook or by mail.  Unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    webhook: SecretStr | None = None  # its path is often all that keeps strangers from posting there
    secrets: tuple[SecretStr, ...] = ()
    secrets_file: Path | None = None
    allow_http: bool = False
    ca: Path | None = None
    mail: tuple[MailAddress, ...] = ()
    events: tuple[str, ...] = Field(("*",), min_length=1)

    @field_validator("events")
    @classmethod
    def _of_kinds(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        try:
            kinds_of(events)
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        return events

    @field_validator("webhook")
    @classmethod
    def _has_a_host(cls, webhook: SecretStr | None) -> SecretStr | None:
        if webhook is not None and not _can_be_posted_to(webhook.get_secret_value()):
            raise ValueError("the webhook is no address such as https://ops.example.org/restead")
        return webhook

    @model_validator(mode="after")
    def _one_way(self) -> "RecipientSettings":
        if (self.webhook is None) == (not self.mail):
            raise ValueError("needs a webhook, or addresses in mail, and not both")
        if self.webhook is None:
            return self
        if bool(self.secrets) == (self.secrets_file is not None):
            raise ValueError("a webhook needs secrets or a secrets_file, and not both: its receiver proves by them "
                             "who calls")  # fmt: skip
        url = urlsplit(self.webhook.get_secret_value())
        if url.scheme == "http" and url.hostname not in LOCAL and not self.allow_http:
            raise ValueError(f"http://{url.hostname} can be read on the way: say https, or allow_http = true")
        return self

    @property
    def kinds(self) -> frozenset[NoticeKind]:
        return kinds_of(self.events)

    def secret_texts(self) -> list[str]:
        """Return what webhooks are signed with.  Raises InvalidRequest: the file is missing or readable by others."""
        if self.secrets_file is None:
            return [secret.get_secret_value() for secret in self.secrets]
        lines = [line for line in private_lines("secrets_file", self.secrets_file) if line]
        if not lines:
            raise InvalidRequest(f"secrets_file {self.secrets_file} has no line with a secret")
        return lines


def private_lines(what: str, path: Path) -> list[str]:
    """Return the lines of a file of secrets.  Raises InvalidRequest: it is missing, or readable by others."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = [line.rstrip("\r\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{what} {path} cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidRequest(
            f"{what} {path} has mode {stat.S_IMODE(mode):04o}; only its owner may read it: chmod 600 {path}"
        )
    return lines
