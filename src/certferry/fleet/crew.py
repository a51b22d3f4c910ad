"""What a process of phones and the process that started it say to each other: JSON lines on pipes.

::

    parent, on standard input                      worker, on standard output
    {"phones": [[NAME, MODEL, LSC, KEY], ...],     {"ready": true}
     "at_once": 100}
    {"order": "boot", "servers": [[HOST, PORT]]}   {"ended": [[NAME, OK, STEP, CODE, REASON], ...]}   some times
                                                   {"done": {"tvs_requests": 3, "grown": BYTES}}
    {"order": "attempt", "count": 20, ...}         the same, and "kept" in done
    {"order": "lacking", "ctl": true}              {"done": {"devices": [NAME, ...]}}
    {"order": "journal", "device": NAME}           {"done": {"texts": [...]}}

There is one order at a time. A worker ends when its standard input does. ``grown`` is by how much its memory has
grown since it knew its phones and had done nothing yet.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from certferry.fleet.device import Device
from certferry.fleet.dial import CertificatePaths
from certferry.phone.flash import Flash
from certferry.phone.outcome import Code, Outcome, Step

LONGEST_LINE = 1 << 27
"""Bytes; a hundred thousand phones are named in one line of about 15 MB."""


@dataclass(frozen=True, slots=True)
class Handset:
    """A phone as it comes out of its box: name, model, its LSC; nothing in flash."""

    name: str
    model: str
    lsc: CertificatePaths | None = None

    def unpacked(self) -> Device:
        """Make the phone."""
        return Device(self.name, Flash(), model=self.model, lsc=self.lsc)

    def encode(self) -> list[Any]:
        """Write it for a JSON line."""
        return [self.name, self.model, *(str(path) for path in self.lsc or ())]

    @classmethod
    def parse(cls, data: list[Any]) -> Self:
        """Read it from a JSON line."""
        name, model, *paths = data
        return cls(name, model, (Path(paths[0]), Path(paths[1])) if paths else None)


def encode_outcome(device: str, outcome: Outcome) -> list[Any]:
    """Write how a boot ended for a JSON line."""
    return [device, outcome.ok, outcome.step.value, outcome.code.value, outcome.reason]


def parse_outcome(data: list[Any]) -> tuple[str, Outcome]:
    """Read it from a JSON line."""
    device, ok, step, code, reason = data
    return device, Outcome(ok, Step(step), Code(code), reason)
