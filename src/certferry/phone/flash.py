"""What a phone keeps in its flash: two trust lists and its configuration, each whole or not at all.

A ``Flash`` is a value: the boot machine never edits one, it replaces it. The two lists are replaced together and
only after both were accepted, so a phone never holds one list of its new cluster beside one that was refused
(procedure part 2: nothing is half installed). The configuration follows in a step of its own, because that is the
order phones keep: lists are installed, then the configuration is downloaded and verified with them
(phone-trust 4.3).
"""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Flash:
    """The trust lists as files (CTL, ITL) and the configuration as plain XML, without its signature header.

    ``config_signed`` tells whether that configuration came with a signature the phone verified.
    """

    ctl: bytes | None = None
    itl: bytes | None = None
    config: bytes | None = None
    config_signed: bool = False

    @property
    def has_trust_list(self) -> bool:
        """Whether any trust list is installed."""
        return self.ctl is not None or self.itl is not None

    def with_lists(self, ctl: bytes | None, itl: bytes | None) -> Self:
        """Replace both lists at once."""
        return replace(self, ctl=ctl, itl=itl)

    def with_config(self, xml: bytes, *, signed: bool) -> Self:
        """Replace the configuration."""
        return replace(self, config=xml, config_signed=signed)

    def erased(self) -> Self:
        """Return what *Erase* in the phone's menu leaves: no trust list, the same configuration."""
        return self.with_lists(None, None)
