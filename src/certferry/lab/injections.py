"""How faults are put into a pair of clusters: one function for each, named after what it does to them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import Organisation, Request, self_signed
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE, SIGNATURE_ALGORITHM
from certferry.cluster.values import SecurityMode, Service, TrustChange
from certferry.errors import Refusal
from certferry.lab.pair import Pair, drop, import_all, own
from certferry.serve.node import NodeServices
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.trust_list import PHONE_LIMIT, TrustList, TrustRecord, build_trust_list

SIGNERS = (Purpose.CALLMANAGER, Purpose.ITL_RECOVERY)
_SIGNING_STORES = (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST)
_LONG_AGO = timedelta(days=6 * 365)
_NOWHERE = 2446


class InjectionError(Refusal):
    """The lab cannot put this fault in."""

    code = "lab.injection"
    remedy = "Inject it into a fresh pair of clusters."


def _signers(cluster: Cluster) -> list[Certificate]:
    return [identity.certificate for identity in own(cluster, *SIGNERS)]


# The exchange


async def out_of_phone_sast_trust(pair: Pair) -> None:
    """Leave the destination's signers in CallManager-trust only."""
    drop(pair.source, Store.PHONE_SAST_TRUST, _signers(pair.destination))


async def import_at_the_destination_only(pair: Pair) -> None:
    """Import on the cluster whose TVS nobody asks."""
    import_all(pair.destination, pair.source)


async def without_the_subscriber(pair: Pair) -> None:
    """Forget the second TFTP node of the destination."""
    node = pair.destination.tftp_nodes()[1].name
    forgotten = pair.destination.identity(Purpose.CALLMANAGER, node).certificate
    for store in _SIGNING_STORES:
        drop(pair.source, store, [forgotten])


async def namesakes_in_the_store(pair: Pair) -> None:
    """Put younger certificates of the same subjects in place of the destination's signers."""
    for node in pair.destination.nodes():
        signer = pair.destination.identity(Purpose.CALLMANAGER, node.name).certificate
        request = Request(Purpose.CALLMANAGER, node.name, Organisation())
        namesake = self_signed(request, pair.keys.rsa(2048), datetime.now(UTC).replace(microsecond=0))
        for store in _SIGNING_STORES:
            drop(pair.source, store, [signer])
            pair.source.change_trust([TrustChange("add", store, namesake, "third")], action="import")


async def expire_signers(pair: Pair) -> None:
    """Let the destination sign with certificates that ran out a year ago."""
    old = pair.at(pair.destination, datetime.now(UTC).replace(microsecond=0) - _LONG_AGO)
    for node in pair.destination.nodes():
        old.regenerate(Purpose.CALLMANAGER, node.name)
    old.close()


async def refuse_expired(pair: Pair) -> None:
    """Do what the import does with expired certificates."""
    expired = [each for each in _signers(pair.destination) if each.not_after < datetime.now(UTC)]
    for store in _SIGNING_STORES:
        drop(pair.source, store, expired)


async def let_a_subscriber_lag(pair: Pair) -> None:
    """Let the node that phones ask first answer from before the import."""
    pair.lagging.add(pair.source.groups()[0].members[0])


# TVS


def _services(pair: Pair, node: str) -> NodeServices:
    return pair.running[node].services[0]


async def _close(pair: Pair, node: str, *services: Service) -> None:
    for service in services:
        server = _services(pair, node).server(service)
        if server is None:
            raise InjectionError(f"{node} runs no {service}")
        await server.close()


async def tvs_down_on_one(pair: Pair) -> None:
    """Stop TVS on the node that phones ask first."""
    await _close(pair, pair.source.groups()[0].members[0], Service.TVS)


async def tvs_down(pair: Pair) -> None:
    """Stop TVS on every node of the source."""
    for node in pair.source.nodes():
        await _close(pair, node.name, Service.TVS)


async def regenerate_tvs(pair: Pair) -> None:
    """Give every node of the source a new TVS certificate."""
    for node in pair.source.nodes():
        pair.source.regenerate(Purpose.TVS, node.name)


async def regenerate_tvs_behind_the_itl(pair: Pair) -> None:
    """Do the same, and keep serving the ITL from before."""
    before = {node.name: pair.source.trust_list("ITL", node.name) for node in pair.source.tftp_nodes()}
    await regenerate_tvs(pair)
    for node, data in before.items():
        pair.put_list(pair.source, "ITL", data, node)


async def wrong_tvs_ports(pair: Pair) -> None:
    """Let configurations name a port on which nothing listens."""
    for node in pair.source.nodes():
        pair.source.set_port(node.name, Service.TVS, _NOWHERE)
    await pair.settled()
    for node in pair.source.nodes():
        await _close(pair, node.name, Service.TVS)


# Rollback, security mode, CTL


async def rollback_at_the_source(pair: Pair) -> None:
    """Set *Prepare Cluster for Rollback to Pre 8.0*."""
    pair.source.set_parameter(ROLLBACK, "true")


async def rollback_at_the_destination(pair: Pair) -> None:
    """Set it at the destination."""
    pair.destination.set_parameter(ROLLBACK, "true")


async def destination_leaves_mixed_mode(pair: Pair) -> None:
    """Make the destination non-secure; its profile for the phone too, and nothing is left of its CTL."""
    pair.destination.set_parameter(SECURITY_MODE, SecurityMode.NON_SECURE)
    pair.destination.delete_ctl()
    pair.destination.add_phones([replace(pair.phone, secure=False)])


async def leave_a_ctl_behind(pair: Pair) -> None:
    """Let the destination have been in mixed mode once, with certificates it has no longer."""
    pair.destination.set_parameter(SECURITY_MODE, SecurityMode.MIXED)
    pair.left_behind = pair.destination.trust_list("CTL")
    pair.destination.set_parameter(SECURITY_MODE, SecurityMode.NON_SECURE)
    pair.destination.regenerate(Purpose.CALLMANAGER, pair.destination.publisher.name)


async def serve_the_ctl_left_behind(pair: Pair) -> None:
    """Serve the CTL from then."""
    pair.put_list(pair.destination, "CTL", pair.left_behind)


async def regenerate_behind_the_ctl(pair: Pair) -> None:
    """Give the publisher a new CallManager certificate and keep the CTL from before."""
    before = pair.destination.trust_list("CTL")
    pair.destination.regenerate(Purpose.CALLMANAGER, pair.destination.publisher.name)
    pair.put_list(pair.destination, "CTL", before)


# Files


def _itl(pair: Pair) -> tuple[str, bytes]:
    node = pair.destination.tftp_nodes()[0].name
    return node, pair.destination.trust_list("ITL", node) or b""


async def tamper_with_the_itl(pair: Pair) -> None:
    """Change the last byte of the ITL."""
    node, data = _itl(pair)
    pair.put_list(pair.destination, "ITL", _tampered(data), node)


async def tamper_with_the_ctl(pair: Pair) -> None:
    """Change the last byte of the CTL."""
    pair.put_list(pair.destination, "CTL", _tampered(pair.destination.trust_list("CTL") or b""))


def _tampered(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


async def cut_the_itl(pair: Pair) -> None:
    """Leave out the end of the ITL."""
    node, data = _itl(pair)
    pair.put_list(pair.destination, "ITL", data[:-100], node)


async def take_the_itl_away(pair: Pair) -> None:
    """Serve no ITL."""
    pair.put_list(pair.destination, "ITL", None, _itl(pair)[0])


async def swell_the_itl(pair: Pair) -> None:
    """Fill the ITL with TVS records beyond what a phone loads, signed properly."""
    node, data = _itl(pair)
    signer = pair.destination.identity(Purpose.CALLMANAGER, node)
    key = pair.destination.private_key(signer)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InjectionError("the signer has no RSA key")
    parsed = TrustList.parse(data)
    more = TrustRecord.of_certificate(signer.certificate, Role.TVS, node, "127.0.2.1")
    records = [*parsed.records, *[more] * (PHONE_LIMIT // more.size)]
    swollen = build_trust_list("ITL", records, signer.certificate, key, timestamp=parsed.header.timestamp or 0)
    pair.put_list(pair.destination, "ITL", swollen, node)


async def sign_with_sha512(pair: Pair) -> None:
    """Let the destination sign with SHA-512."""
    pair.destination.set_parameter(SIGNATURE_ALGORITHM, "sha-512")


async def forget_the_phone(pair: Pair) -> None:
    """Let the destination know nothing of the phone."""
    pair.destination.remove_phones([pair.phone.device])


async def tftp_down(pair: Pair) -> None:
    """Stop the file services of the destination."""
    for node in pair.destination.tftp_nodes():
        await _close(pair, node.name, Service.TFTP, Service.HTTP)
