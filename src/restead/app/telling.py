"""Who is told what happens: from what the settings say to the ways there, and the chores that go them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from restead.domain.errors import InvalidRequest
from restead.domain.notice import Matter, Recipient, Tried
from restead.drivers.notices import MailServer, MailTls, Webhook, mail_to, signing_key
from restead.ports import Notifier
from restead.records import Records
from restead.repository import Repository
from restead.settings import Settings
from restead.settings_notify import RecipientSettings
from restead.workflows import Deliverer, Engine, Heeded, Reaching, Router

_LOOK_EVERY = timedelta(seconds=2)
_REACH_EVERY = timedelta(minutes=1)
_MAILED_AT_ONCE = 1000  # notices


@dataclass(frozen=True, slots=True)
class Way:
    """Who is told, and how."""

    recipient: Recipient
    notifier: Notifier


def ways(settings: Settings) -> Mapping[str, Way]:
    """Return the way to each recipient, by name.  Raises InvalidRequest: a secret, or a file, is none."""
    return {name: _way(name, wanted, settings) for name, wanted in settings.notify.items()}


def _way(name: str, wanted: RecipientSettings, settings: Settings) -> Way:
    timeout = timedelta(seconds=settings.notify_timeout)
    try:
        if wanted.webhook is not None:
            keys = [signing_key(secret) for secret in wanted.secret_texts()]
            webhook = Webhook(wanted.webhook.get_secret_value(), keys, timeout=timeout, ca=wanted.ca)
            return Way(Recipient(name, wanted.kinds), webhook)
        host, _, port = settings.mail_server.rpartition(":")
        server = MailServer(
            host.strip("[]"), int(port), settings.mail_from, MailTls(settings.mail_tls), settings.mail_user,
            settings.mail_secret(), settings.mail_ca, timeout,
        )  # fmt: skip
        window = timedelta(seconds=settings.mail_window)
        return Way(Recipient(name, wanted.kinds, _MAILED_AT_ONCE, window), mail_to(server, wanted.mail))
    except InvalidRequest as error:
        raise InvalidRequest(f"settings: notify.{name}: {error.message}", detail=error.detail) from error


def tell_regularly(
    engine: Engine, records: Records, router: Router, there: Mapping[str, Way], settings: Settings,
    watch: Callable[[Tried], None],
) -> None:  # fmt: skip
    """Have the engine tell all of them; call before it starts."""
    router.take_up()
    engine.do_regularly(router, _LOOK_EVERY)
    give_up = timedelta(hours=settings.notify_give_up)
    for way in there.values():
        engine.do_regularly(Deliverer(records, way.recipient, way.notifier, give_up, watch), _LOOK_EVERY)


def reach_regularly(engine: Engine, records: Records, repository: Repository) -> None:
    """Have the engine look whether the repository can be reached, so that somebody is told when it cannot."""
    reaching = Heeded(records, Matter.REPOSITORY, Reaching(repository))
    engine.do_regularly(reaching, _REACH_EVERY, "reaching the repository")
