"""A house for each test, and no log lines between them."""

from tests.quiet_house import house, quiet

__all__ = ["house", "quiet"]
