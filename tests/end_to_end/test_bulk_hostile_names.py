"""An exchange directory that somebody hostile filled, over a real SFTP server: only plain files count as files."""

import os
from pathlib import Path

import pytest

from certferry.bulk import transport
from certferry.bulk.directory import list_directory
from certferry.bulk.refusals import DirectoryTooLargeError
from certferry.bulk.transport import SftpExchange
from openssh import needs_sshd, running_sshd

ODD = [b"\xff\xfe.p12", b"a\nb.p12", b"\x1b[31mred.p12", "\u202egnp.p12".encode(), b"\xed\xa0\x80.p12"]
"""Not UTF-8, a line break, a colour, a writing direction, half a character."""
PLAIN = ["%2e%2e%2fetc_pub_tomcat.p12", "-rf.p12", "CON.p12", "notes.txt", "日本.p12"]


def fill(directory: Path) -> None:
    for name in (*map(os.fsdecode, ODD), *PLAIN):
        (directory / name).write_bytes(b"no certificates")
    (directory / "source_pub_tomcat.p12").mkdir()
    (directory / "source.manifest.json").symlink_to("/etc/passwd")
    (directory / "loop.p12").symlink_to("loop.p12")
    (directory / "gone.p12").symlink_to("nowhere")
    os.mkfifo(directory / "source_pub_tftp.p12")


@needs_sshd
async def test_links_pipes_directories_and_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    async with running_sshd(tmp_path) as server, SftpExchange.opened(server.settings) as exchange:
        fill(server.directory)
        assert [entry.name for entry in await exchange.entries()] == sorted(PLAIN)
        listing = await list_directory(exchange)
        assert listing.clusters == ()
        assert not any(file.signed for file in listing.files)


@needs_sshd
async def test_a_directory_with_too_many_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_NAMES", 50)
    async with running_sshd(tmp_path) as server, SftpExchange.opened(server.settings) as exchange:
        for number in range(51):
            (server.directory / f"{number}.txt").touch()
        with pytest.raises(DirectoryTooLargeError, match="holds more than 50 files"):
            await exchange.entries()
        (server.directory / "0.txt").unlink()
        assert len(await exchange.entries()) == 50
