"""PostgreSQL's NOTIFY as a cluster's change feed."""

import asyncio
from contextlib import suppress
from typing import Any

import psycopg

from certferry.cluster.database import CHANNEL
from certferry.cluster.engines import connect_options
from certferry.cluster.server_address import ServerAddress, password

RETRY_SECONDS = 1.0


class ListeningFeed:
    """For PostgreSQL: LISTEN on a connection of its own, opened again for as long as it takes when it is lost."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def changed(self, within: float) -> None:
        """Come back when the cluster's writers told of a change, when the connection is new, or when it is lost."""
        try:
            if self._connection is None:
                self._connection = await self._listen()
                return
            async for _ in self._connection.notifies(timeout=within, stop_after=1):
                pass
        except (psycopg.Error, OSError):
            await self.close()
            await asyncio.sleep(min(within, RETRY_SECONDS))

    async def _listen(self) -> psycopg.AsyncConnection[Any]:
        place = self._server.url.set(drivername="postgresql").render_as_string()
        options = connect_options(self._server)
        if secret := password():
            options["password"] = secret
        connection = await psycopg.AsyncConnection.connect(place, autocommit=True, **options)
        try:
            await connection.execute(f'LISTEN "{CHANNEL}{self._server.schema}"'.encode())
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Give back the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                await connection.close()
