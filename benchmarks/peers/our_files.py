"""Certferry's own TFTP and HTTP services over the files of a folder, as one worker of ``certferry serve`` runs them.

    our_files.py ADDRESS FOLDER

Everything a node's service does is on: limits, counters, deadlines, and the hook that tells which phone took what.
Prints the ports once they are open; ends with SIGTERM.
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from pathlib import Path

import uvloop

from certferry.serve.http import HttpFileServer
from certferry.serve.tftp import TftpServer


class Files(dict[str, bytes]):
    """The files by name in lower case, as ``FileLibrary`` holds them."""

    def find(self, name: str) -> bytes | None:
        """Return one file."""
        return self.get(name.lower())


async def main(address: str, files: Files) -> None:
    """Serve until SIGTERM."""
    taken: Counter[str] = Counter()

    def served(name: str, host: str) -> None:
        taken[host] += len(name)

    tftp = TftpServer((address, 0), files, on_served=served)
    http = HttpFileServer((address, 0), files, on_served=served)
    await tftp.start()
    await http.start()
    print(json.dumps({"ready": True, "tftp": tftp.address[1], "http": http.address[1]}), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


if __name__ == "__main__":
    found = Files({path.name.lower(): path.read_bytes() for path in Path(sys.argv[2]).iterdir()})
    uvloop.run(main(sys.argv[1], found))
