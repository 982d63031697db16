"""What opens a data folder's repository, as the command line works with it."""

from datetime import UTC, datetime
from pathlib import Path

from restead.app.opening import Opened
from restead.repository import KeyFile, RecoveryKey


class FolderKeys:
    """Implements the command line's `Keys`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def export_recovery(self) -> str:
        key = RecoveryKey.generate()
        with self._opened.folder.setting_up():
            self._opened.keyring().add_wrapping(key, label=f"exported {datetime.now(UTC):%Y-%m-%d}")
        return key.printed()

    def confirm_recovery(self, text: str) -> None:
        self._opened.keyring().confirm_recovery(RecoveryKey.parse(text), datetime.now(UTC))

    def recover(self, text: str) -> Path:
        keyring = self._opened.keyring(RecoveryKey.parse(text))
        path = self._opened.key_file
        keyring.add_wrapping(KeyFile.create(path), label=f"made by the recovery key {datetime.now(UTC):%Y-%m-%d}")
        return path
