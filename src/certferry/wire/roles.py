"""Role codes of trust list records and TVS answers (phone-trust 1.6: Unified CM's own enumeration)."""

from enum import IntEnum


class Role(IntEnum):
    """What a certificate may do for a phone. One byte in TVS element 8, two in a trust list record."""

    SAST = 0
    CALLMANAGER = 1
    CALLMANAGER_TFTP = 2
    TFTP = 3
    CAPF = 4
    SRST = 5
    FIREWALL = 6
    APPLICATION_SERVER = 7
    CERTIFICATE_AUTHORITY = 20
    TVS = 21
    SIGNALING_CALL_CONTROL = 22
    PROVISIONING_SERVICE = 23
    DATA_SERVICE = 24
    NETWORK_ELEMENT = 25
    VPN = 26
    SERVICEABILITY = 27
    UNKNOWN = 255


_SHOWN = {
    Role.SAST: "System Administrator Security Token",
    Role.CALLMANAGER: "CCM",
    Role.CALLMANAGER_TFTP: "CCM+TFTP",
}


def role_text(code: int) -> str:
    """Name a role as ``show ctl`` prints it; an unassigned code prints as ``role N``."""
    try:
        role = Role(code)
    except ValueError:
        return f"role {code}"
    return _SHOWN.get(role, role.name)
