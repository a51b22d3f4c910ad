"""What the offers of a network's DHCP servers mean for its phones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface

from certferry.dhcp.asking import Heard, Offered
from certferry.errors import MalformedError
from certferry.wire.dhcp import NOWHERE, DhcpMessage, Option
from certferry.wire.phone_dhcp import DEFAULT_ORDER, TftpServers, TftpSource, tftp_servers


class Verdict(StrEnum):
    """How bad a finding is."""

    PASS = "pass"  # noqa: S105 -- a verdict
    WARN = "warn"
    FAIL = "fail"


class Topic(StrEnum):
    """What a finding is about."""

    NOBODY_ANSWERS = "nobody-answers"
    OPTION_150_LENGTH = "option-150-length"
    NO_TFTP_SERVER = "no-tftp-server"
    OPTION_150_MISSING = "option-150-missing"
    TOO_MANY_SERVERS = "too-many-servers"
    WRONG_SUBNET = "wrong-subnet"
    SEVERAL_SERVERS = "several-servers"
    CONTRADICTION = "contradiction"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, and what to do about it."""

    topic: Topic
    verdict: Verdict
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class OptionReading:
    """What one offer says, as far as it can be read; ``option_150`` is None where it is missing or malformed."""

    server: IPv4Address
    offered: Offered
    option_150: tuple[IPv4Address, ...] | None
    malformed: str
    phone_uses: TftpServers | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was offered and what follows from it. ``held`` is None where nothing was expected, or nobody answered."""

    readings: tuple[OptionReading, ...]
    findings: tuple[Finding, ...]
    held: bool | None

    @property
    def fails(self) -> bool:
        """Whether something is wrong."""
        return any(finding.verdict is Verdict.FAIL for finding in self.findings)

    @property
    def phone_uses(self) -> TftpServers | None:
        """What every phone will use; None where offers contradict each other, or name nothing."""
        used = {(reading.phone_uses.servers if reading.phone_uses else ()) for reading in self.readings}
        return self.readings[0].phone_uses if len(used) == 1 else None


def judge(heard: Heard, expected: Sequence[IPv4Address] = (), order: Sequence[TftpSource] = DEFAULT_ORDER) -> Judgement:
    """Judge what was heard: each offer by itself, all of them together, and against what is expected."""
    readings = tuple(_read(offered, order) for offered in heard.offers)
    findings = [finding for reading in readings for finding in _about_one(reading, heard.interface_address, order)]
    findings += _about_all(readings)
    held = _holds(readings, expected) if expected and readings else None
    if held is not None:
        findings.append(_about_expectation(readings, expected, held=held))
    return Judgement(readings, tuple(findings), held)


def _read(offered: Offered, order: Sequence[TftpSource]) -> OptionReading:
    malformed, addresses = "", None
    try:
        addresses = offered.message.tftp_addresses or None
    except MalformedError as error:
        malformed = str(error)
    return OptionReading(offered.server, offered, addresses, malformed, tftp_servers(offered.message, order))


def _about_one(
    reading: OptionReading, interface_address: IPv4Interface | None, order: Sequence[TftpSource]
) -> Iterator[Finding]:
    if reading.malformed:
        yield Finding(
            Topic.OPTION_150_LENGTH,
            Verdict.FAIL,
            f"{reading.server}: {reading.malformed}",
            "Define option 150 at this server as an array of IPv4 addresses, not as a text.",
        )
    if reading.phone_uses is None:
        remedy = "Set option 150 in the phones' scope: certferry dhcp snippet writes it."
        yield Finding(Topic.NO_TFTP_SERVER, Verdict.FAIL, f"{reading.server} names no TFTP server", remedy)
    elif order[0] is TftpSource.OPTION_150 and reading.option_150 is None and not reading.malformed:
        sentence = f"{reading.server} sends no option 150: phones fall back on {_in_words(reading.phone_uses)}"
        yield Finding(Topic.OPTION_150_MISSING, Verdict.WARN, sentence, "Set option 150 in the phones' scope.")
    if reading.option_150 and len(reading.option_150) > 2:  # noqa: PLR2004 -- TFTP 1 and 2
        sentence = f"{reading.server}: option 150 has {len(reading.option_150)} addresses; phones use the first two"
        yield Finding(Topic.TOO_MANY_SERVERS, Verdict.WARN, sentence, "Let the first two be the ones that matter.")
    yield from _about_subnet(reading, interface_address)


def _about_subnet(reading: OptionReading, own: IPv4Interface | None) -> Iterator[Finding]:
    """Compare the offered address with the network that was asked in, and with the router offered beside it."""
    address = reading.offered.message.your_address
    remedy = "See that the scope belongs to the phones' VLAN, and that the relay has its address there."
    if own is not None and own.ip != NOWHERE and address not in own.network:
        sentence = f"{reading.server} offers {address}, which is outside of {own.network}, the network asked in"
        yield Finding(Topic.WRONG_SUBNET, Verdict.FAIL, sentence, remedy)
    outside = _router_outside(reading.offered.message)
    if outside:
        sentence = f"{reading.server} offers {address} with the router {outside}, which is in another subnet"
        yield Finding(Topic.WRONG_SUBNET, Verdict.FAIL, sentence, remedy)


def _router_outside(message: DhcpMessage) -> IPv4Address | None:
    try:
        mask, routers = message.subnet_mask, message.routers
        network = IPv4Interface(f"{message.your_address}/{mask}").network if mask else None
    except (MalformedError, ValueError):
        return None
    return next((router for router in routers if network and router not in network), None)


def _about_all(readings: Sequence[OptionReading]) -> Iterator[Finding]:
    if not readings:
        remedy = (
            "See that the interface is in the phones' VLAN, that a scope has addresses left, and that a relay is set."
        )
        yield Finding(Topic.NOBODY_ANSWERS, Verdict.FAIL, "no DHCP server answered", remedy)
    if len(readings) < 2:  # noqa: PLR2004 -- several
        return
    named = ", ".join(f"{reading.server} ({_in_words(reading.phone_uses)})" for reading in readings)
    if len({reading.phone_uses.servers if reading.phone_uses else () for reading in readings}) > 1:
        sentence = f"{len(readings)} servers contradict each other: {named}; a phone takes whichever answers first"
        yield Finding(Topic.CONTRADICTION, Verdict.FAIL, sentence, "Change them all, or switch off the one too many.")
    else:
        sentence = f"{len(readings)} servers answer, and say the same: {named}"
        yield Finding(Topic.SEVERAL_SERVERS, Verdict.WARN, sentence, "Change option 150 at every one of them.")


def _holds(readings: Sequence[OptionReading], expected: Sequence[IPv4Address]) -> bool:
    wanted = tuple(map(str, expected))
    return all(reading.phone_uses is not None and reading.phone_uses.servers == wanted for reading in readings)


def _about_expectation(readings: Sequence[OptionReading], expected: Sequence[IPv4Address], *, held: bool) -> Finding:
    wanted = ",".join(map(str, expected))
    if held:
        return Finding(Topic.EXPECTED, Verdict.PASS, f"phones will use {wanted}, as expected")
    others = [reading for reading in readings if not _holds([reading], expected)]
    named = "; ".join(f"{reading.server} gives {_in_words(reading.phone_uses)}" for reading in others)
    turned = any(reading.phone_uses and set(reading.phone_uses.servers) == set(wanted.split(",")) for reading in others)
    sentence = f"expected {wanted}, but {named}" + (": the same in another order" if turned else "")
    return Finding(Topic.EXPECTED, Verdict.FAIL, sentence, "Set option 150 there, then check again.")


def _in_words(used: TftpServers | None) -> str:
    if used is None:
        return "no TFTP server"
    where = "siaddr" if used.source is TftpSource.SIADDR else f"option {used.source}"
    return f"{','.join(used.servers)} from {where}"


def describe(reading: OptionReading) -> dict[str, object]:
    """Tell one offer as plain values."""
    message = reading.offered.message
    raw = message.option(Option.TFTP_ADDRESSES)
    used = reading.phone_uses
    return {
        "server": str(reading.server),
        "sender": str(reading.offered.sender),
        "relay": None if message.relay == NOWHERE else str(message.relay),
        "address": str(message.your_address),
        "option_150": None if reading.option_150 is None else [str(address) for address in reading.option_150],
        "option_150_bytes": None if raw is None else raw.hex(),
        "option_66": message.tftp_name,
        "siaddr": None if message.siaddr == NOWHERE else str(message.siaddr),
        "phone_uses": None if used is None else {"source": used.source, "servers": list(used.servers)},
    }
