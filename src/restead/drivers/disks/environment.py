"""What programs that we start see of our own environment."""

import os


def clean_environment() -> dict[str, str]:
    """Return our environment without what is ours alone: our settings may hold secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RESTEAD_")}
