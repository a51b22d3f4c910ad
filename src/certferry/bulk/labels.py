"""The friendly name of a certificate in an exchange file: ``cluster/node/purpose/CN``.

A consolidated file alone so tells where each of its certificates came from. Names are unique without regard to
letter case, as Java wants them: cluster, node and purpose part them, the common name is for human eyes.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from certferry.bulk.files import quoted
from certferry.trust.purpose import Purpose

_PARTS = 4
_PURPOSES = frozenset(map(str, Purpose))
_HIGHEST_BMP = 0xFFFF


@dataclass(frozen=True, slots=True)
class Label:
    """Where a certificate came from, and what it is there."""

    cluster: str
    node: str
    purpose: str
    common_name: str

    @property
    def text(self) -> str:
        """The friendly name."""
        return "/".join((quoted(self.cluster), quoted(self.node), self.purpose, _shown(self.common_name)))

    @classmethod
    def parse(cls, text: str) -> "Label | None":
        """Read a friendly name; None for one that certferry did not give."""
        parts = text.split("/", _PARTS - 1)
        if len(parts) != _PARTS or not all(parts[:2]) or parts[2] not in _PURPOSES:
            return None
        label = cls(unquote(parts[0]), unquote(parts[1]), parts[2], parts[3])
        return None if "\0" in label.cluster + label.node else label


def _shown(common_name: str) -> str:
    """Replace what a PKCS#12 name or a terminal cannot hold."""
    return "".join(c if c.isprintable() and ord(c) <= _HIGHEST_BMP else "?" for c in common_name)
