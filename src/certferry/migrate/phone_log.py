"""Reading what a phone shows: status messages of all models, and what its console log says over several lines.

Forms (phone-trust 4.4)::

    [8:52:30am 10/01/19] Trust List Updated                      78xx, 88xx: month first
    1:33:26a TFTP Error : ...                                    79xx
    <DeviceLog><status>8:52:30am ITL installed</status>...       the phone's web page

and of the console log (phone-trust 4.1) the request ``[GT877][src=NAME]...`` with its ``XXTP complete - status = N``.
"""

import html
import re
from collections.abc import Iterator
from datetime import datetime

from certferry.migrate.signs import Observation, named

KEYWORDS = ("[src=", "xxtp complete", "sep")
_STAMP = re.compile(r"\[\s*(\d{1,2}:\d{2}:\d{2}\s*[ap]m)\s+(\d{1,2}/\d{1,2}/\d{2})\s*\]", re.IGNORECASE)
# A tag without a dot in its name: "<status>" is markup, "<CTLFile.tlv>" and "<Cfg File>" are words of a message.
_TAG = re.compile(r"</?[A-Za-z][\w:-]*(?:\s+[\w:-]+=\"[^\"]*\")*\s*/?>|<\?xml[^>]*>")
_REQUEST = re.compile(r"\[src=([^\]]{1,128})\]")
_STATUS = re.compile(r"XXTP complete - status\s*=\s*(\d+)", re.IGNORECASE)
_DEVICE = re.compile(r"SEP[0-9A-F]{12}", re.IGNORECASE)
_FETCHED, _NOT_FOUND = 100, 2


def plain_lines(line: str) -> Iterator[str]:
    """Take the markup of a web page off a line; what stood in several elements becomes several lines."""
    if "<" not in line and "&" not in line:
        yield line
        return
    yield from (html.unescape(part) for part in _TAG.split(line) if part.strip())


def shown_at(line: str) -> datetime | None:
    """Return when a 78xx or 88xx says the line was shown; None when it does not, or says nonsense."""
    found = _STAMP.search(line)
    if not found:
        return None
    clock, day = found[1].replace(" ", ""), found[2]
    try:
        # The phone's own clock has no zone; times of one phone are only compared with each other.
        return datetime.strptime(f"{clock} {day}", "%I:%M:%S%p %m/%d/%y")  # noqa: DTZ007
    except ValueError:
        return None


class PhoneLogReader:
    """Follows the file requests of a console log; one reader for one log."""

    def __init__(self) -> None:
        self._wanted = ""

    def read(self, line: str) -> Iterator[Observation]:
        """Take the next line."""
        if device := _DEVICE.search(line):
            yield Observation({}, "", facts={"device": device[0].upper()})
        if request := _REQUEST.search(line):
            self._wanted = request[1]
        elif (status := _STATUS.search(line)) and self._wanted:
            yield from self._completed(int(status[1][:6]))

    def _completed(self, status: int) -> Iterator[Observation]:
        wanted, self._wanted = self._wanted, ""
        if status == _FETCHED:
            return
        sign = _sign_of_missing(wanted) if status == _NOT_FOUND else "fetch-failed"
        if sign:
            yield named(sign, f"{wanted}: XXTP complete - status = {status}")


def _sign_of_missing(name: str) -> str:
    low = name.lower()
    if low.startswith("ctl"):
        return "ctl-not-found"
    if low.startswith("itlsep"):
        return "itl-not-found"
    if low.startswith("itl"):
        return "generic-itl-not-found"
    return "configuration-not-found" if ".cnf.xml" in low else ""
