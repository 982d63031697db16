"""Those who are told what happens: by signed webhook, by e-mail."""

from restead.drivers.notices.email import MailServer, MailTls, mail_to
from restead.drivers.notices.signing import signing_key
from restead.drivers.notices.webhook import Webhook

__all__ = ["MailServer", "MailTls", "Webhook", "mail_to", "signing_key"]
