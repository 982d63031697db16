"""The records as the command line works with them: brought up to date, looked at, copied to another database."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from restead.app.opening import Opened, owner_of
from restead.domain.errors import InvalidRequest, Unavailable
from restead.records import Records, checking, copying, owning


class FolderDatabase:
    """Implements the command line's `Database`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def upgrade(self) -> tuple[str | None, str]:
        if self._opened.shapes is None:
            raise Unavailable("a service works on the data folder; it brings the records up to date when it starts")
        before, now = self._opened.shapes
        return before, str(now)

    def check(self) -> Iterator[str]:
        return checking.findings(self._opened.records)

    def copy(self, address: str, told: Callable[[str, int], None]) -> None:
        self._occupy("copy")
        source, target = self._opened.records, Records.open(address)
        if target.engine.url == source.engine.url:
            raise InvalidRequest("the records are there already")
        me = owner_of(self._opened.settings)
        with source.begin() as tx:
            owning.require(tx, me, on_server=source.on_server)
        try:
            copying.copy_rows(source, target, told)
            with target.begin() as tx:
                owning.own(tx, me if target.on_server else None)
        finally:
            target.close()
        where = f"nobody any more: they were copied to another database on {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        with source.begin() as tx:
            owning.own(tx, owning.Owner("", where))

    def owner(self) -> str | None:
        with self._opened.records.read() as tx:
            found = owning.owner(tx)
        return None if found is None else found.called

    def claim(self) -> None:
        self._occupy("claim")
        records = self._opened.records
        with records.begin() as tx:
            owning.own(tx, owner_of(self._opened.settings) if records.on_server else None)

    def _occupy(self, what: str) -> None:
        with self._opened.folder.setting_up() as service:
            if service is not None:
                raise Unavailable(f"a service works on the data folder, end it first: {service}")
            self._opened.folder.occupy(f"no address: it is restead db {what}")
