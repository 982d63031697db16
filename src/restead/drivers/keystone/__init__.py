"""Who stands behind a token of OpenStack's identity service, Keystone."""

from restead.drivers.keystone.identity import KeystoneIdentity

__all__ = ["KeystoneIdentity"]
