"""Whom a phone believes: the signers and TVS certificates that its CTL and ITL name.

A phone looks a signer up by subject, issuer and serial, in the CTL first. One certificate may stand in several
records (a TFTP node's stands as SAST and as TFTP in its ITL), so the roles of a signer are those of all its records.
Lists are parsed once for the same bytes, and those bytes are kept once: hundreds of phones hold the same ITL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Self

from certferry.errors import MalformedError
from certferry.phone.decision import SIGNER_ROLES, Finding, Held, Kind
from certferry.phone.flash import Flash
from certferry.wire.certificate import Certificate
from certferry.wire.names import comparable
from certferry.wire.roles import Role
from certferry.wire.signed_header import SignedHeader
from certferry.wire.trust_list import TrustList, TrustRecord

_KNOWN_LISTS = 256
_ADVANCED = (1, 1)
_SERVING = (Role.TFTP, Role.CALLMANAGER_TFTP, Role.TVS)


@dataclass(frozen=True, slots=True)
class Signer:
    """A signer as files name it. Equal when the names are, however they are spelt, and the serials are."""

    subject: str = field(compare=False)
    issuer: str = field(compare=False)
    serial: bytes = field(compare=False)
    key: tuple[str, str, bytes] = field(repr=False)

    @classmethod
    def named(cls, subject: str, issuer: str, serial: bytes) -> Self:
        """Name a signer by its certificate's subject, issuer and serial."""
        return cls(subject, issuer, serial, (comparable(subject), comparable(issuer), serial.lstrip(b"\0")))

    @classmethod
    def of(cls, source: SignedHeader | Certificate | TrustRecord) -> Self:
        """Take the name out of a signed header, a certificate or a trust list record."""
        return cls.named(source.subject, source.issuer, source.serial)

    def __str__(self) -> str:
        return f"{self.subject} serial {self.serial.hex().upper()}"


@dataclass(frozen=True, slots=True)
class Named:
    """What one list says of a signer: its roles, and its public keys (one, unless the list contradicts itself)."""

    roles: frozenset[int]
    public_keys: tuple[bytes, ...]


class KnownList:
    """A parsed trust list with the index of its signers. Make it with ``known_list``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.parsed = TrustList.parse(data)
        self.signer = Signer.of(self.parsed.header)

    @cached_property
    def signers(self) -> Mapping[Signer, Named]:
        """Everybody that the list names with a key, by subject, issuer and serial."""
        index: dict[Signer, Named] = {}
        for record in self.parsed.records:
            if record.public_key:
                signer = Signer.of(record)
                before = index.get(signer, Named(frozenset(), ()))
                keys = tuple(dict.fromkeys((*before.public_keys, record.public_key)))
                index[signer] = Named(before.roles | {record.role}, keys)
        return index

    @cached_property
    def is_emptied(self) -> bool:
        """Whether nobody is left in it who could sign a configuration or vouch: a list made for rollback.

        The published emptied record is one of a CTL; that those of an ITL look alike is deduced, so a list that
        leaves them out altogether counts as well (phone-trust 1.7, 4.5).
        """
        return all(record.is_emptied for record in self.parsed.records_with_role(*_SERVING))

    @cached_property
    def tvs_certificates(self) -> tuple[Certificate, ...]:
        """The certificates with role TVS."""
        return self._certificates(Role.TVS)

    @cached_property
    def callmanager_certificates(self) -> tuple[Certificate, ...]:
        """The certificates of call control, by which a secure phone recognises a CallManager."""
        return self._certificates(Role.CALLMANAGER, Role.CALLMANAGER_TFTP)

    def _certificates(self, *roles: Role) -> tuple[Certificate, ...]:
        """Open the certificates; one that cannot be read is left out, as no server can present it."""
        records = self.parsed.records_with_role(*roles)
        return tuple(certificate for record in records if (certificate := _readable(record.certificate)))


def _readable(der: bytes) -> Certificate | None:
    try:
        return Certificate.parse(der) if der else None
    except MalformedError:
        return None


@lru_cache(maxsize=_KNOWN_LISTS)
def known_list(data: bytes) -> KnownList:
    """Parse a trust list, or return the one parsed from the same bytes before; raise ``MalformedError``."""
    return KnownList(data)


@dataclass(frozen=True, slots=True)
class Match:
    """Where a signer was found, with which roles and keys."""

    finding: Finding
    roles: frozenset[int] = frozenset()
    public_keys: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class PhoneTrust:
    """A phone's two lists. Either may be absent."""

    ctl: KnownList | None = None
    itl: KnownList | None = None

    @classmethod
    def of(cls, flash: Flash) -> Self:
        """Read the lists of ``flash``; raise ``MalformedError`` when one of them is none."""
        ctl = None if flash.ctl is None else known_list(flash.ctl)
        return cls(ctl, None if flash.itl is None else known_list(flash.itl))

    def replacing(self, kind: Kind, new: KnownList) -> Self:
        """Return these lists with ``new`` as the CTL or as the ITL."""
        return replace(self, ctl=new) if kind is Kind.CTL else replace(self, itl=new)

    def get(self, kind: Kind) -> KnownList | None:
        """Return the CTL or the ITL."""
        return self.ctl if kind is Kind.CTL else self.itl

    @property
    def held(self) -> Held:
        """Which row of the decision table applies. A CTL that still has its entries goes before an emptied ITL."""
        if self.ctl and not self.ctl.is_emptied:
            return Held.CTL
        if self.itl and not self.itl.is_emptied:
            return Held.ITL
        return Held.ROLLED_BACK if self.ctl or self.itl else Held.NOTHING

    @property
    def tvs_certificates(self) -> tuple[Certificate, ...]:
        """The certificates by which a TVS is recognised; only the ITL has them (phone-trust 1.10)."""
        return self.itl.tvs_certificates if self.itl else ()

    @property
    def callmanager_certificates(self) -> tuple[Certificate, ...]:
        """The certificates by which a secure phone recognises a CallManager, from both lists."""
        both = (known.callmanager_certificates for known in (self.ctl, self.itl) if known)
        return tuple(dict.fromkeys(certificate for some in both for certificate in some))

    @property
    def is_advanced(self) -> bool:
        """Whether a list tells phones that the cluster does advanced algorithms (tag 28 is 1.1; phone-trust 1.4)."""
        versions = [known.parsed.header.signer_version for known in (self.ctl, self.itl) if known]
        return any(version is not None and version >= _ADVANCED for version in versions)

    def find(self, kind: Kind, signer: Signer) -> Match:
        """Look up who signed a file of ``kind``: in the CTL, then in the ITL."""
        fallback = Match(Finding.NOWHERE)
        for where, finding in ((Kind.CTL, Finding.IN_CTL), (Kind.ITL, Finding.IN_ITL)):
            known = self.get(where)
            named = known.signers.get(signer) if known else None
            if named and named.roles & SIGNER_ROLES[kind, where]:
                return Match(finding, named.roles, named.public_keys)
            if named:
                fallback = Match(Finding.WITHOUT_ROLE, named.roles, named.public_keys)
        return fallback
