"""Trust lists: CTLFile.tlv and ITLFile.tlv, a signed header and then records to the end of the file.

One record, in the order in which Unified CM writes it (phone-trust 1.5)::

    1 RECORDLENGTH 2   the whole record, these 5 bytes included
    2 DNSNAME          node name and NUL; the NUL alone for a hardware token
    3 SUBJECTNAME      4 FUNCTION 2 (role)    5 ISSUERNAME    6 SERIALNUMBER
    7 PUBLICKEY        8 SIGNATURE            9 CERTIFICATE   10 IPADDRESS 4
    11, 12             a certificate hash and its algorithm instead of the certificate; no sample is known

Reading takes a record's elements in any order and opens no certificate: phones read lists by the thousand.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address
from typing import Literal, Self

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate
from certferry.wire.names import comparable
from certferry.wire.signed_header import Digest, SignedHeader, header_of, require_key_of, sign_with
from certferry.wire.tlv import (
    Element,
    TagMissingError,
    TagRepeatedError,
    TruncatedError,
    number,
    span,
    spans,
    text,
    tlv,
)

MAX_SIZE = 1 << 20
"""The largest file read or written here. Phones give up above ``PHONE_LIMIT``."""

PHONE_LIMIT = 64 * 1024
"""More than 64 KB and a phone cannot load the list, so does not register (phone-trust 1.10)."""

ListKind = Literal["CTL", "ITL"]
FILENAMES: dict[ListKind, str] = {"CTL": "CTLFile.tlv", "ITL": "ITLFile.tlv"}
"""The file name in the header, the same for every node and phone."""


class RecordTag(IntEnum):
    """Tags of a record."""

    RECORD_LENGTH = 1
    DNS_NAME = 2
    SUBJECT_NAME = 3
    FUNCTION = 4
    ISSUER_NAME = 5
    SERIAL_NUMBER = 6
    PUBLIC_KEY = 7
    SIGNATURE = 8
    CERTIFICATE = 9
    IP_ADDRESS = 10
    CERTIFICATE_HASH = 11
    HASH_ALGORITHM = 12


class TrustListTooLongError(MalformedError):
    """The file is larger than any trust list can reasonably be."""

    code = "wire.trust-list-too-long"
    remedy = "Check that this is a CTL or ITL; phones load at most 64 KB of one."


class RecordLengthError(MalformedError):
    """A record's length points behind the end of the file, or does not agree with the record's content."""

    code = "wire.record-length"
    remedy = "Fetch the file again; it was cut short, or its records were written wrong."


class AddressMalformedError(MalformedError):
    """The address of a record is not an IPv4 address; these files know no other."""

    code = "wire.record-address"
    remedy = "Give the node's IPv4 address as 192.0.2.1, or none."


class CertificateAbsentError(MalformedError):
    """The record carries no certificate to open."""

    code = "wire.record-without-certificate"
    remedy = "Use a record with a certificate; emptied records and those with a hash carry none."


_KNOWN = frozenset(RecordTag)
_SIZES = {RecordTag.FUNCTION: 2, RecordTag.IP_ADDRESS: 4, RecordTag.HASH_ALGORITHM: 1}
_LENGTH_SIZE = 5
_comparable = lru_cache(maxsize=64)(comparable)
"""Kept, because a signer's name is compared with every record of a list, and a stranger may make it 64 KB long."""
_NAMING = (RecordTag.SUBJECT_NAME, RecordTag.ISSUER_NAME, RecordTag.SERIAL_NUMBER)


@dataclass(frozen=True, slots=True)
class TrustRecord:
    """One certificate of one node in one role.

    ``role`` is a ``Role`` code, or another number as read. ``certificate`` is DER and not looked into;
    ``public_key`` is what ``Certificate.public_key`` says; ``signature`` is the certificate's own and absent in
    token records; ``ip_address`` is IPv4 text. What a record lacks is empty.
    """

    role: int
    dns_name: str = ""
    subject: str = ""
    issuer: str = ""
    serial: bytes = b""
    public_key: bytes = field(default=b"", repr=False)
    signature: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    ip_address: str = ""
    certificate_hash: bytes = b""
    hash_algorithm: int | None = None

    @classmethod
    def of_certificate(cls, certificate: Certificate, role: int, dns_name: str = "", ip_address: str = "") -> Self:
        """Make the record that says: ``certificate`` serves in ``role`` on the node of that name and address."""
        return cls(
            role=role,
            dns_name=dns_name,
            subject=certificate.subject,
            issuer=certificate.issuer,
            serial=certificate.serial,
            public_key=certificate.public_key,
            signature=certificate.signature,
            certificate=certificate.der,
            ip_address=ip_address,
        )

    @classmethod
    def emptied(cls, dns_name: str, role: int, ip_address: str) -> Self:
        """Make the form that a role keeps when its certificate is withdrawn: name, role, address (phone-trust 1.7)."""
        return cls(role=role, dns_name=dns_name, ip_address=ip_address)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one whole record; raise ``RecordLengthError`` when ``data`` is shorter or longer than it says."""
        end = _record_end(data, 0)
        if end != len(data):
            raise RecordLengthError(f"the record says that it has {end} bytes and has {len(data)}")
        return cls._between(data, 0, end)

    @classmethod
    def _between(cls, data: bytes, position: int, end: int) -> Self:
        found = _collect(data, position, end)
        address = found.get(RecordTag.IP_ADDRESS)
        algorithm = found.get(RecordTag.HASH_ALGORITHM)
        return cls(
            role=found[RecordTag.FUNCTION].number,
            dns_name=_text(found, RecordTag.DNS_NAME),
            subject=_text(found, RecordTag.SUBJECT_NAME),
            issuer=_text(found, RecordTag.ISSUER_NAME),
            serial=_bytes(found, RecordTag.SERIAL_NUMBER),
            public_key=_bytes(found, RecordTag.PUBLIC_KEY),
            signature=_bytes(found, RecordTag.SIGNATURE),
            certificate=_bytes(found, RecordTag.CERTIFICATE),
            ip_address=".".join(map(str, address.value)) if address else "",
            certificate_hash=_bytes(found, RecordTag.CERTIFICATE_HASH),
            hash_algorithm=algorithm.number if algorithm else None,
        )

    @property
    def is_emptied(self) -> bool:
        """Whether the record names a node and a role but no certificate at all."""
        names = self.subject or self.issuer or self.serial
        return not (names or self.public_key or self.signature or self.certificate or self.certificate_hash)

    @property
    def parsed(self) -> Certificate:
        """The certificate; raise ``CertificateAbsentError`` or ``CertificateMalformedError`` when there is none."""
        if not self.certificate:
            raise CertificateAbsentError(f"the record of {self.dns_name or self.subject!r} carries no certificate")
        return Certificate.parse(self.certificate)

    @property
    def size(self) -> int:
        """The length of the encoded record in bytes."""
        return len(self.encode())

    def is_named(self, subject: str, issuer: str, serial: bytes) -> bool:
        """Whether the record's certificate is the one of these names and this serial, however they are spelled."""
        if self.is_emptied or self.serial.lstrip(b"\0") != serial.lstrip(b"\0"):
            return False
        return _same_name(self.issuer, issuer) and _same_name(self.subject, subject)

    def encode(self) -> bytes:
        """Write the record in Unified CM's order, a certificate hash at the end."""
        content = text(RecordTag.DNS_NAME, self.dns_name)
        content += number(RecordTag.FUNCTION, self.role, 2) if self.is_emptied else self._identity()
        if self.ip_address:
            content += tlv(RecordTag.IP_ADDRESS, _packed(self.ip_address))
        if self.certificate_hash:
            content += tlv(RecordTag.CERTIFICATE_HASH, self.certificate_hash)
        if self.hash_algorithm is not None:
            content += number(RecordTag.HASH_ALGORITHM, self.hash_algorithm, 1)
        return number(RecordTag.RECORD_LENGTH, _LENGTH_SIZE + len(content), 2) + content

    def _identity(self) -> bytes:
        optional = (
            (RecordTag.PUBLIC_KEY, self.public_key),
            (RecordTag.SIGNATURE, self.signature),
            (RecordTag.CERTIFICATE, self.certificate),
        )
        return (
            text(RecordTag.SUBJECT_NAME, self.subject)
            + number(RecordTag.FUNCTION, self.role, 2)
            + text(RecordTag.ISSUER_NAME, self.issuer)
            + tlv(RecordTag.SERIAL_NUMBER, self.serial)
            + b"".join(tlv(tag, value) for tag, value in optional if value)
        )


@dataclass(frozen=True, slots=True)
class TrustList:
    """A CTL or ITL. Whether its signature holds is asked of its bytes: ``signed_header.verify``."""

    header: SignedHeader
    records: tuple[TrustRecord, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a whole file of at most 1 MiB; raise a ``MalformedError`` of its own kind for any contradiction."""
        if len(data) > MAX_SIZE:
            raise TrustListTooLongError(f"the file has {len(data)} bytes, more than {MAX_SIZE}")
        header, position = SignedHeader.parse_prefix(data)
        records = [TrustRecord._between(data, start, end) for start, end in record_spans(data, position)]  # noqa: SLF001 -- one module
        return cls(header, tuple(records))

    def encode(self) -> bytes:
        """Write the file in Unified CM's order, with the signature that the header holds.

        A list that another product wrote in another order comes out different, and its signature fails: keep
        the bytes that were read where the signature matters.
        """
        return self.header.encode() + b"".join(record.encode() for record in self.records)

    def records_with_role(self, *roles: int) -> tuple[TrustRecord, ...]:
        """Return the records in any of ``roles``, in file order, emptied ones too."""
        return tuple(record for record in self.records if record.role in roles)

    def find(self, subject: str, issuer: str, serial: bytes, *roles: int) -> TrustRecord | None:
        """Return the first record of that certificate, in any of ``roles`` or, without any, in whatever role."""
        candidates = self.records_with_role(*roles) if roles else self.records
        return next((record for record in candidates if record.is_named(subject, issuer, serial)), None)


def build_trust_list(
    kind: ListKind,
    records: Iterable[TrustRecord],
    signer: Certificate,
    key: rsa.RSAPrivateKey,
    *,
    digest: Digest = Digest.SHA1,
    timestamp: int,
    version: tuple[int, int] = (1, 2),
    signer_version: tuple[int, int] | None = None,
) -> bytes:
    """Write and sign a trust list; ``timestamp`` is Unix seconds.

    Raise ``SignerKeyError`` when ``key`` is not the RSA key of ``signer`` or has a size without a modulus code,
    and ``TrustListTooLongError`` above 1 MiB.
    """
    require_key_of(signer, key)
    header = header_of(
        signer,
        FILENAMES[kind],
        digest=digest,
        timestamp=timestamp,
        version=version,
        signer_version=signer_version,
    )
    data = sign_with(key, header, b"".join(record.encode() for record in records))
    if len(data) > MAX_SIZE:
        raise TrustListTooLongError(f"the {kind} would have {len(data)} bytes, more than {MAX_SIZE}")
    return data


def record_spans(data: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Walk the records from ``position`` to the end of the file: where each starts and ends."""
    while position < len(data):
        end = _record_end(data, position)
        yield position, end
        position = end


def _record_end(data: bytes, position: int) -> int:
    tag, start, stop = span(data, position, len(data))
    if tag != RecordTag.RECORD_LENGTH:
        raise TagMissingError(f"a record length (tag 1) is needed at offset {position} but tag {tag} stands there")
    length = Element(tag, data[start:stop], start).sized(2).number
    if not _LENGTH_SIZE <= length <= len(data) - position:
        left = len(data) - position
        raise RecordLengthError(f"the record at offset {position} says {length} bytes and {left} are left in the file")
    return position + length


def _collect(data: bytes, position: int, end: int) -> dict[int, Element]:
    found: dict[int, Element] = {}
    try:
        for tag, start, stop in spans(data, position + _LENGTH_SIZE, end):
            if tag in found or tag == RecordTag.RECORD_LENGTH:
                raise TagRepeatedError(f"the record at offset {position} has tag {tag} again at offset {start - 3}")
            if tag in _KNOWN:
                found[tag] = Element(tag, data[start:stop], start)
    except TruncatedError as error:
        raise RecordLengthError(f"the record at offset {position} is longer than it says: {error}") from error
    _check(found, position)
    return found


def _check(found: dict[int, Element], position: int) -> None:
    if RecordTag.FUNCTION not in found:
        raise TagMissingError(f"the record at offset {position} has no function (tag 4)")
    if RecordTag.CERTIFICATE in found or RecordTag.PUBLIC_KEY in found:
        for tag in _NAMING:
            if tag not in found:
                raise TagMissingError(f"the record at offset {position} has a certificate but lacks its tag {tag}")
    for tag, size in _SIZES.items():
        if tag in found:
            found[tag].sized(size)


def _text(found: dict[int, Element], tag: RecordTag) -> str:
    return found[tag].text if tag in found else ""


def _bytes(found: dict[int, Element], tag: RecordTag) -> bytes:
    return found[tag].value if tag in found else b""


def _same_name(one: str, other: str) -> bool:
    return one == other or _comparable(one) == _comparable(other)


def _packed(address: str) -> bytes:
    try:
        return IPv4Address(address).packed
    except AddressValueError as error:
        raise AddressMalformedError(f"{address!r} is not an IPv4 address") from error
