"""A file that stands for DHCP: read anew at each boot."""

from pathlib import Path

import pytest

from certferry.cli.addresses import AddressInvalidError, parse_address
from certferry.fleet.option150 import Option150FileError, from_file
from certferry.phone.events import Address


def tftp(text: str) -> Address:
    return parse_address(text, 69)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("192.0.2.1", [("192.0.2.1", 69)]),
        ("192.0.2.1,192.0.2.2:6969\n", [("192.0.2.1", 69), ("192.0.2.2", 6969)]),
        ("192.0.2.1\n192.0.2.2\n", [("192.0.2.1", 69), ("192.0.2.2", 69)]),
    ],
)
def test_one_or_two_servers_are_read(tmp_path: Path, text: str, servers: list[Address]) -> None:
    file = tmp_path / "option150"
    file.write_text(text)
    assert from_file(file, tftp)() == servers


def test_it_is_read_at_each_boot(tmp_path: Path) -> None:
    file = tmp_path / "option150"
    read = from_file(file, tftp)
    for host in ("192.0.2.1", "192.0.2.2"):
        file.write_text(host)
        assert read() == [(host, 69)]


@pytest.mark.parametrize("text", ["", " ,\n", "192.0.2.1,192.0.2.2,192.0.2.3"])
def test_none_or_too_many_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "option150"
    file.write_text(text)
    with pytest.raises(Option150FileError, match="not one or two"):
        from_file(file, tftp)()


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "option150"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Option150FileError, match="cannot be read"):
        from_file(file, tftp)()


def test_what_is_no_address_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "option150"
    file.write_text("192.0.2.1:port")
    with pytest.raises(AddressInvalidError):
        from_file(file, tftp)()
