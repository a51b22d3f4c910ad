"""Trust lists of the lengths that published ``show ctl`` screens print (phone-trust 1.7).

Only lengths were published, so names, serials, keys and certificates here are fillers of the right length.
"""

from certferry.wire.roles import Role
from certferry.wire.signed_header import Digest, SignedHeader
from certferry.wire.trust_list import TrustList, TrustRecord

CLUSTER_NAME = "CN=cucm-1051-a-pub;OU=Voice;O=Example;L=Brussels;ST=Bru;C=BE"
SERIAL = bytes.fromhex("70CAF61234567890A1B2C3D4E5F60718")
TOKEN_NAME = 'cn="SAST-ADN0054f509        ";ou=IPCBU;o="Cisco Systems'
TOKEN_ISSUER = "cn=Cisco Manufacturing CA;o=Cisco Systems"
TOKEN_SERIAL = bytes.fromhex("3C1A2B3C4D5E6F708192")
PUB, PUB_ADDRESS = "cucm-1051-a-pub", "10.48.47.153"


def filler(size: int, seed: int = 0x30) -> bytes:
    return bytes((seed + index) % 256 for index in range(size))


def name_of_length(size: int) -> str:
    """A name whose element is ``size`` bytes long, its NUL included."""
    return CLUSTER_NAME.ljust(size - 1, "x")[: size - 1]


def tokenless_record(role: Role, *, key: int, signature: int, certificate: int) -> TrustRecord:
    name = name_of_length(62)
    return TrustRecord(role, PUB, name, name, SERIAL, filler(key), filler(signature), filler(certificate), PUB_ADDRESS)


def small_key_record(role: Role) -> TrustRecord:
    return tokenless_record(role, key=140, signature=128, certificate=694)


def large_key_record(role: Role) -> TrustRecord:
    return tokenless_record(role, key=270, signature=256, certificate=955)


def sized_record(role: Role, size: int) -> TrustRecord:
    """A 1024-bit record as long as the screen says, the unknown lengths put into its certificate."""
    base = small_key_record(role)
    return tokenless_record(role, key=140, signature=128, certificate=694 + size - base.size)


def token_record(role: Role = Role.SAST) -> TrustRecord:
    return TrustRecord(role, "", TOKEN_NAME, TOKEN_ISSUER, TOKEN_SERIAL, filler(140), b"", filler(902), PUB_ADDRESS)


def old_client_capf_record(size: int = 1004) -> TrustRecord:
    """A CAPF record of the CTL client, which writes no certificate signature."""
    name = name_of_length(62)
    certificate = size - (5 + 3 + 16 + 2 * (3 + 62) + 5 + 3 + 16 + 3 + 140 + 3 + 7)
    return TrustRecord(Role.CAPF, PUB, name, name, SERIAL, filler(140), b"", filler(certificate), PUB_ADDRESS)


def header(subject: str, issuer: str, serial: bytes, signature_size: int) -> SignedHeader:
    return SignedHeader(
        version=(1, 2),
        subject=subject,
        issuer=issuer,
        serial=serial,
        digest=Digest.SHA1,
        filename="CTLFile.tlv",
        timestamp=1425667513,
        signature=filler(signature_size),
    )


def tokenless_1024() -> TrustList:
    """Sample A: 10.5.1, keys of 1024 bits."""
    name = name_of_length(62)
    records = (
        small_key_record(Role.SAST),
        small_key_record(Role.CALLMANAGER_TFTP),
        sized_record(Role.CAPF, 1138),
        sized_record(Role.CALLMANAGER_TFTP, 1161),
    )
    return TrustList(header(name, name, SERIAL, 128), records)


def tokenless_2048() -> TrustList:
    """Sample B: the same cluster with the publisher's key of 2048 bits."""
    name = name_of_length(62)
    records = (
        large_key_record(Role.SAST),
        large_key_record(Role.CALLMANAGER_TFTP),
        sized_record(Role.CAPF, 1138),
        sized_record(Role.CALLMANAGER_TFTP, 1161),
    )
    return TrustList(header(name, name, SERIAL, 256), records)


def back_to_non_secure() -> TrustList:
    """Sample D: two hardware tokens, CAPF, and two emptied records."""
    emptied = TrustRecord.emptied("10.48.47.153", Role.CALLMANAGER_TFTP, "10.48.47.153")
    records = (token_record(), token_record(), emptied, old_client_capf_record(), emptied)
    return TrustList(header(TOKEN_NAME, TOKEN_ISSUER, TOKEN_SERIAL, 128), records)
