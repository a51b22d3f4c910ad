"""The configuration for phones that a cluster does not know, ``XMLDefault.cnf.xml``: where its call control is.

It names the CallManagers at which such a phone may try to register itself, and no TVS: a phone that took it can no
longer ask anybody about an unknown signer (phone-trust 3.7, 4.1)::

    <Default>
     └─ callManagerGroup/members/member priority="0": callManager, as in a phone's own configuration

That a phone asks for it and that its TVS list is of no use is documented; the elements are recalled (REC) and stand
in this module alone, so that they can be corrected here.
"""

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from certferry.wire.phone_config import DEFAULT_ROOT, CallManagerMember, bytes_of, write_callmanager_group

DEFAULT_NAME = "XMLDefault.cnf.xml"
"""Its name; signed files have the suffix of all signed files behind it."""


def default_config(callmanagers: Iterable[CallManagerMember]) -> bytes:
    """Write it; ``PhoneConfig.parse`` reads it. Raise ``PhoneConfigMalformedError`` for text that XML cannot hold."""
    root = Element(DEFAULT_ROOT)
    write_callmanager_group(root, callmanagers)
    return bytes_of(root)


def is_default_config(name: str) -> bool:
    """Whether a file of that name is the one for phones that the cluster does not know, plain or signed."""
    return name.lower().startswith(DEFAULT_NAME.lower())
