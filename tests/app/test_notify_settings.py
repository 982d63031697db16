"""Who is told: wrong settings are found at the start, and nothing that is said of them shows a secret."""

import base64
from pathlib import Path
from typing import Any

import pytest

from restead.app.telling import ways
from restead.domain.errors import InvalidRequest
from restead.domain.notice import NoticeKind
from restead.settings import Settings, read_settings

_SECRET = base64.b64encode(b"a secret that nobody else has").decode()
_GOOD = {"webhook": "https://ops.example.org/hooks/in-the-path", "secrets": [_SECRET]}
_MAIL = {"mail_server": "mail.example.org:587", "mail_from": "backup@example.org"}


def read(**settings: Any) -> Settings:
    return read_settings(None, **settings)


def wrong(**settings: Any) -> str:
    """Return what is said of settings that are wrong."""
    with pytest.raises(InvalidRequest) as raised:
        ways(read(**settings))
    return raised.value.message


def test_nobody_is_told_if_nobody_is_named() -> None:
    assert ways(read()) == {}


def test_a_file_names_them(tmp_path: Path) -> None:
    """As docs/operate.md shows it, with a secret for today and one for tomorrow."""
    secrets = tmp_path / "ops.secret"
    secrets.write_text(f"{_SECRET}\n\nwhsec_{_SECRET}\n")
    secrets.chmod(0o600)
    file = tmp_path / "restead.toml"
    file.write_text(f"""
mail_server = "[::1]:25"
mail_from = "backup@example.org"
[notify.ops]
webhook = "https://ops.example.org/hooks"
secrets_file = "{secrets}"
[notify.night]
mail = ["night@example.org", "day@example.org"]
events = ["*.failed", "policy.missed"]
""")
    found = ways(read_settings(file))
    assert list(found) == ["ops", "night"]
    assert found["ops"].recipient.kinds == set(NoticeKind)
    night = found["night"].recipient
    assert {NoticeKind.BACKUP_FAILED, NoticeKind.POLICY_MISSED} < night.kinds
    assert (night.at_once, night.window.total_seconds(), NoticeKind.TEST in night.kinds) == (1000, 60.0, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"webhook": "ops.example.org"}, "is no address such as"),
        ({"webhook": "ftp://ops.example.org"}, "is no address such as"),
        ({"webhook": "https://ops.example.org:99999/x"}, "is no address such as"),
        ({"webhook": "https://ops.example.org:https/x"}, "is no address such as"),
        ({"webhook": "https://[::1/x"}, "is no address such as"),
        ({"webhook": "https://ops.example.org/x\n"}, "is no address such as"),
        ({"webhook": "https://ops.example.org/x y"}, "is no address such as"),
        ({"webhook": "http://ops.example.org/x"}, "http://ops.example.org can be read on the way"),
        ({"secrets": []}, "a webhook needs secrets or a secrets_file"),
        ({"secrets": ["c2hvcnQ="]}, "has 5 bytes, 24 to 64 are needed"),
        ({"secrets": [_SECRET + "!"]}, "is no base64"),
        ({"mail": ["ops@example.org"]}, "and not both"),
        ({"webhook": None, "secrets": []}, "needs a webhook, or addresses in mail"),
        ({"events": ["backups.*"]}, "'backups.*' is none of backup.failed"),
        ({"events": []}, "at least 1 item"),
        ({"ca": "/nowhere/ca.pem"}, "holds no certificates"),
        ({"secrets": [], "secrets_file": "/nowhere/secret"}, "secrets_file /nowhere/secret cannot be read"),
        ({"sekrets": []}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], said: str) -> None:
    message = wrong(notify={"ops": _GOOD | change})
    assert said in message
    assert "notify.ops" in message
    assert _SECRET not in message
    assert "in-the-path" not in message


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secrets = tmp_path / "secret"
    secrets.write_text(_SECRET)
    secrets.chmod(0o640)
    message = wrong(notify={"ops": _GOOD | {"secrets": [], "secrets_file": str(secrets)}})
    assert message.endswith(f"has mode 0640; only its owner may read it: chmod 600 {secrets}")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "notify.ops is told by mail, which needs mail_server and mail_from"),
        (_MAIL | {"mail_server": "mail.example.org"}, "is not HOST:PORT"),
        (_MAIL | {"mail_from": "nobody"}, "'nobody' is no mail address"),
        (_MAIL | {"mail_user": "me", "mail_tls": "off"}, "me's password could be read on the way"),
        (_MAIL | {"mail_password": "a", "mail_password_file": "/b"}, "exclude each other"),
        (_MAIL | {"mail_password_file": "/nowhere/b"}, "mail_password_file /nowhere/b cannot be read"),
    ],
)
def test_mail_needs_a_server(settings: dict[str, Any], said: str) -> None:
    assert said in wrong(notify={"ops": {"mail": ["ops@example.org"]}}, **settings)


@pytest.mark.parametrize("address", ["ops", "@example.org", "a@b c", "a@b,c@d", "a@b\r\nBcc: c@d", "<a@b>"])
def test_addresses_are_plain_ones(address: str) -> None:
    assert "is no mail address" in wrong(notify={"ops": {"mail": [address]}}, **_MAIL)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "ü"])
def test_a_name_can_stand_in_a_path(name: str) -> None:
    assert "should match pattern" in wrong(notify={name: _GOOD})


def test_no_secret_shows_in_the_settings() -> None:
    """Whoever prints them, into a log for instance, prints stars."""
    shown = repr(read(notify={"ops": _GOOD}, mail_password="correct horse"))
    assert not any(secret in shown for secret in (_SECRET, "in-the-path", "correct horse"))
