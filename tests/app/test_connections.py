"""Connections that want nothing do not take the service away from those that do."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from tests.app.running import Place, service

from restead.app.connections import MOST


def test_silent_connections_leave_room_for_requests_and_runs(tmp_path: Path) -> None:
    """Many more connections than are served: they are closed, and requests go on being answered."""
    place = Place(tmp_path)
    with service(place) as running:
        address = urlsplit(running.url)
        assert address.hostname is not None
        assert address.port is not None
        silent = []
        try:
            for _ in range(MOST + 200):
                silent.append(socket.create_connection((address.hostname, address.port), timeout=10))
            assert all(_closed(connection) for connection in silent[MOST + 1 :])
            for connection in silent[:50]:
                connection.close()
            assert httpx2.get(f"{running.url}/", timeout=30).status_code == 300
        finally:
            for connection in silent:
                connection.close()


def _closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
