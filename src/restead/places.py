"""Where things are when nobody says.  Apart from `settings`, so that a command that speaks HTTP only starts at once."""

import os
from pathlib import Path


def default_data() -> Path:
    """Where the data folder is: /var/lib/restead for root, else by the XDG rules."""
    if os.geteuid() == 0:
        return Path("/var/lib/restead")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "restead"


def default_config() -> Path:
    """The TOML file that is read if it exists and no other is named."""
    return config_folder() / "restead.toml"


def config_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "restead"
