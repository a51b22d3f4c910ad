"""Ports for servers that are told their port: held, so that nobody else is given them before the server has bound."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """Hold a TCP port of 127.0.0.1 until the block ends.

    A server that asks for this port and for SO_REUSEADDR, as servers do, gets it as often as it likes. Whoever asks for
    any free port is given another, and while no server listens there, connections are refused.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
