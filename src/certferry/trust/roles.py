"""Which roles TVS reports for a certificate: the union over the stores that hold it (phone-trust 3.6).

Phone-SAST-trust is the store that makes migration work: it alone gives a foreign signer SAST and TFTP.
CallManager-trust gives nothing.
"""

from collections.abc import Iterable

from certferry.trust.purpose import Purpose, Store
from certferry.wire.roles import Role

_NONE: frozenset[Role] = frozenset()

ROLES_OF_STORE: dict[Store, frozenset[Role]] = {
    Store.PHONE_SAST_TRUST: frozenset({Role.SAST, Role.TFTP}),
    Store.TOMCAT_TRUST: frozenset({Role.APPLICATION_SERVER}),
    Store.PHONE_TRUST: frozenset({Role.APPLICATION_SERVER}),
    Store.PHONE_CTL_TRUST: frozenset({Role.APPLICATION_SERVER}),
    Store.PHONE_VPN_TRUST: frozenset({Role.VPN}),
    Store.CALLMANAGER_TRUST: _NONE,
    Store.CAPF_TRUST: _NONE,
    Store.TVS_TRUST: _NONE,
    Store.IPSEC_TRUST: _NONE,
    Store.DIRECTORY_TRUST: _NONE,
    Store.USERLICENSING_TRUST: _NONE,
}

ROLES_OF_PURPOSE: dict[Purpose, frozenset[Role]] = {
    Purpose.CALLMANAGER: frozenset({Role.CALLMANAGER_TFTP, Role.SAST}),
    Purpose.CALLMANAGER_ECDSA: frozenset({Role.CALLMANAGER_TFTP}),
    Purpose.TOMCAT: frozenset({Role.APPLICATION_SERVER}),
    Purpose.TOMCAT_ECDSA: frozenset({Role.APPLICATION_SERVER}),
    Purpose.IPSEC: frozenset({Role.APPLICATION_SERVER}),
    Purpose.CAPF: frozenset({Role.CAPF}),
    Purpose.TVS: frozenset({Role.TVS}),
    # Not in the published map, which predates it; as a signer of trust lists it can only be a SAST (INF).
    Purpose.ITL_RECOVERY: frozenset({Role.SAST}),
}


def roles_of(stores: Iterable[Store], purposes: Iterable[Purpose] = ()) -> frozenset[Role]:
    """Unite the roles of all ``stores`` that hold a certificate and all ``purposes`` it serves itself."""
    roles: frozenset[Role] = frozenset()
    for store in stores:
        roles |= ROLES_OF_STORE[store]
    for purpose in purposes:
        roles |= ROLES_OF_PURPOSE[purpose]
    return roles
