"""The socket that the service listens on."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

from restead.app.listening import bind
from restead.settings import Settings


def test_answers_leave_at_once(tmp_path: Path) -> None:
    """Head and body are two small packets: the second must not wait until the client has acknowledged the first."""

    async def accepted(listener: socket.socket) -> int:
        found = asyncio.get_running_loop().create_future()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(serve, sock=listener):
            _, client = await asyncio.open_connection(*listener.getsockname())
            client.close()
            return int(await found)

    with closing(bind(Settings(data=tmp_path, listen="127.0.0.1:0"))) as listener:
        assert asyncio.run(accepted(listener)) == 1
