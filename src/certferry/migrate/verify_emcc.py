"""EMCC: does each cluster trust the other's tomcat certificate? Asked of TVS and by a TLS handshake on 8443."""

import asyncio
from collections.abc import Iterator

from certferry.errors import MalformedError, Refusal
from certferry.fleet.dial import ServerUnknownError, client_context, dial
from certferry.fleet.tvs import ask
from certferry.migrate.gather import Looking
from certferry.migrate.seen import Seen, SideName, Tomcat, judged
from certferry.migrate.side import SideView
from certferry.migrate.survey import DEVICE
from certferry.phone.events import Address
from certferry.trust.list_check import Check
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import CertificateVerificationRequest, Status

TOMCAT_PORT = 8443
_SESSION = 1001


async def probe_tomcat(source: SideView, destination: SideView, looking: Looking) -> tuple[Tomcat, ...]:
    """Find both clusters' tomcat certificates and ask the other side about them."""
    both = (
        _probe("source", source, destination, looking),
        _probe("destination", destination, source, looking),
    )
    return tuple(one for some in await asyncio.gather(*both) for one in some)


async def _probe(name: SideName, side: SideView, other: SideView, looking: Looking) -> list[Tomcat]:
    if side.inside is not None:
        addresses = {node.name: node.address for node in side.inside.nodes}
        publisher = side.inside.nodes[0].address
        known = [(addresses.get(own.node or "", publisher), own.certificate) for own in side.inside.own(Purpose.TOMCAT)]
    else:
        hosts = [node.endpoint.host for node in side.alive]
        presented = await asyncio.gather(*(_presented((host, TOMCAT_PORT), looking) for host in hosts))
        known = [(host, certificate) for host, certificate in zip(hosts, presented, strict=True) if certificate]
    if not known:
        return [Tomcat(name, f"TCP {TOMCAT_PORT}", None, None, "no tomcat certificate was seen")]
    return list(await asyncio.gather(*(_judge(name, where, each, other, looking) for where, each in known)))


async def _presented(address: Address, looking: Looking) -> Certificate | None:
    deadline = asyncio.get_running_loop().time() + looking.reach.tvs
    try:
        async with looking.slots, dial(address, client_context(None, allow_tls10=True), deadline) as (_, _, facts):
            return Certificate.parse(facts.server_certificate) if facts else None
    except (Refusal, MalformedError):
        return None


async def _judge(name: SideName, where: str, certificate: Certificate, other: SideView, looking: Looking) -> Tomcat:
    """Look into the other's tomcat-trust when it is open, shake hands with that trust, else ask its TVS."""
    if other.inside is not None:
        trusted = other.inside.held_in(Store.TOMCAT_TRUST)
        note = f"{len(trusted)} certificates in the other's tomcat-trust"
        shaken = await _handshake((where, TOMCAT_PORT), trusted, looking)
        return Tomcat(name, where, certificate, certificate in trusted and shaken is not False, note + _TOLD[shaken])
    for address in other.tvs_nodes:
        try:
            async with looking.slots:
                request = CertificateVerificationRequest(_SESSION, DEVICE, certificate.der)
                answer = await ask(address, request, trusted=None, timeout=looking.reach.tvs, allow_tls10=True)
        except Refusal:
            continue
        vouched = answer.reply.status is Status.VALID
        return Tomcat(name, where, certificate, vouched, f"said TVS {address[0]}:{address[1]} of the other cluster")
    return Tomcat(name, where, certificate, None, "no TVS of the other cluster could be asked")


async def _handshake(address: Address, trusted: frozenset[Certificate], looking: Looking) -> bool | None:
    """Shake hands as a node of the other cluster would; None when nobody answers there.

    What the server presents is seen first, so that of a store of thousands one certificate is loaded: OpenSSL takes
    ten seconds for 10,000, in which nothing else is heard.
    """
    presented = await _presented(address, looking)
    if presented is None or presented not in trusted:
        return None if presented is None else False
    deadline = asyncio.get_running_loop().time() + looking.reach.tvs
    try:
        async with looking.slots, dial(address, client_context([presented], allow_tls10=True), deadline):
            return True
    except ServerUnknownError:
        return False
    except Refusal:
        return None


_TOLD = {
    None: f"; nobody answered a handshake on {TOMCAT_PORT}",
    True: f"; a handshake on {TOMCAT_PORT} verifies",
    False: f"; a handshake on {TOMCAT_PORT} does not verify",
}


def emcc_checks(seen: Seen) -> Iterator[Check]:
    """Judge the mutual trust that extension mobility cross cluster needs; phones move without it."""
    for tomcat in seen.tomcat:
        other = "destination" if tomcat.side == "source" else "source"
        title = f"EMCC: the {other} trusts the tomcat certificate of {tomcat.side} {tomcat.where}"
        if tomcat.certificate is None or tomcat.vouched is None:
            how = f"Open TCP {TOMCAT_PORT} and 2445 to this machine, or give the clusters' folders."
            yield judged("emcc.tomcat", title, "unknown", tomcat.note, how)
            continue
        evidence = f"{tomcat.certificate.subject}, serial {tomcat.certificate.serial_hex}; {tomcat.note}"
        remedy = f"Export type tomcat at the {tomcat.side}, consolidate, import at the {other}: certferry bulk import"
        yield judged("emcc.tomcat", title, "pass" if tomcat.vouched else "warn", evidence, remedy)
