"""Telling what a phone holds, with bytes and certificates, as entries of the journal of its rehearsal."""

from collections.abc import Iterator
from functools import lru_cache

from certferry.errors import MalformedError
from certferry.migrate.side import readable
from certferry.phone.events import address_text
from certferry.phone.flash import Flash
from certferry.phone.outcome import Entry, Journal, Step
from certferry.phone.trust import Signer
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.roles import role_text
from certferry.wire.trust_list import TrustRecord


def holding(flash: Flash, when: str, at: float = 0.0) -> Journal:
    """Tell what is in ``flash``; ``when`` begins each sentence."""
    return tuple(Entry(at, step, f"{when} {text}") for step, text in _holding(flash))


def _holding(flash: Flash) -> Iterator[tuple[Step, str]]:
    for step, data in ((Step.CTL, flash.ctl), (Step.ITL, flash.itl)):
        kind = step.value.upper()
        yield from ((step, line) for line in (_list_lines(kind, data) if data else (f"no {kind}",)))
    yield Step.CONFIGURATION, _configuration(flash)


@lru_cache(maxsize=64)
def _list_lines(kind: str, data: bytes) -> tuple[str, ...]:
    known = readable(data)
    if known is None:
        return (f"a {kind} of {len(data)} bytes that cannot be read",)
    header = known.parsed.header
    first = f"{kind}: {len(data)} bytes, {header.digest.name}, signed by {known.signer}"
    return (first, *(f"{kind} record: {_record(record)}" for record in known.parsed.records))


def _record(record: TrustRecord) -> str:
    if record.is_emptied:
        return f"{role_text(record.role)} {record.dns_name}, emptied"
    told = f"{role_text(record.role)} {Signer.of(record)}, {len(record.certificate)} bytes"
    try:
        return f"{told}, SHA-256 {record.parsed.sha256}" if record.certificate else told
    except MalformedError as error:
        return f"{told}: {error.sentence}"


def _configuration(flash: Flash) -> str:
    if flash.config is None:
        return "no configuration"
    try:
        config = PhoneConfig.parse(flash.config)
    except MalformedError as error:
        return f"a configuration that cannot be read: {error.sentence}"
    tvs = ", ".join(address_text((member.address, member.port)) for member in config.tvs) or "nobody"
    signed = "verified" if flash.config_signed else "unsigned"
    return f"a configuration of {len(flash.config)} bytes, {signed}; it asks TVS at {tvs}"
