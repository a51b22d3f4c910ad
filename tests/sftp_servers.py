"""The lab's SFTP server with an exchange directory, for as long as a test needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from certferry.serve.lab_sftp import LabSftp


@asynccontextmanager
async def lab_sftp(root: Path, user: str, password: str) -> AsyncIterator[LabSftp]:
    """Serve ``root``; what clusters exchange goes to ``/exchange``."""
    (root / "exchange").mkdir(parents=True)
    server = LabSftp(root, user, password)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
