"""Where a resident phone learns its TFTP servers, asked anew at each boot: set by hand, or in a file; DHCP is apart."""

from collections.abc import Callable, Sequence
from pathlib import Path

from certferry.errors import Refusal
from certferry.phone.events import Address

MOST_SERVERS = 2
"""Phones know TFTP server 1 and TFTP server 2 (phone-trust 5.5)."""


class Option150FileError(Refusal):
    """The file that stands for DHCP cannot be used; phones go on with the servers they knew."""

    code = "fleet.option150-file"
    remedy = "Write one or two TFTP servers, IP or IP:PORT, apart by commas or lines; replace the file in one step."


def from_file(path: Path, parse: Callable[[str], Address]) -> Callable[[], Sequence[Address]]:
    """Return what reads the servers from ``path`` at each call; ``parse`` reads one, refusing with a ``Refusal``."""

    def read() -> Sequence[Address]:
        try:
            words = path.read_text(encoding="ascii").replace(",", " ").split()
        except (OSError, UnicodeError) as error:
            raise Option150FileError(f"{path} cannot be read: {error}") from error
        if not 0 < len(words) <= MOST_SERVERS:
            raise Option150FileError(f"{path} names {len(words)} TFTP servers, not one or two")
        return [parse(word) for word in words]

    return read
