"""What a verification would have seen of clusters that do not run: their lists, and what their TVS would say."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from certferry.cluster.cluster import Cluster
from certferry.cluster.phone_configs import phone_configs
from certferry.cluster.values import Service
from certferry.migrate.place import Place
from certferry.migrate.seen import Seen
from certferry.migrate.side import Fetched, ServedFile, SideView, TftpNode
from certferry.migrate.survey import Answered, Survey, TvsNode, signers_of
from certferry.phone.trust import Signer
from certferry.serve.snapshot import trusted_certificates
from certferry.trust.list_check import Check
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate
from certferry.wire.signed_file import sign_file
from certferry.wire.tvs import Status
from conftest import CLUSTER_BORN

NOW = CLUSTER_BORN + timedelta(days=1)


def file_of(name: str, data: bytes | None) -> ServedFile:
    """A file that both protocols serve, or both say is missing."""
    fetched = Fetched("missing" if data is None else "served", data)
    return ServedFile(name, fetched, fetched)


def files_of(cluster: Cluster, node: str, devices: Iterable[str]) -> dict[str, bytes | None]:
    """Everything a TFTP node serves to everybody and to ``devices``, if the cluster knows them."""
    known = {phone.device for phone in cluster.phones()}
    lists = {"ITL": cluster.trust_list("ITL", node), "CTL": cluster.trust_list("CTL")}
    files = {f"{kind}File.tlv": data for kind, data in lists.items()}
    for device in devices:
        files |= {f"{kind}{device}.tlv": data if device in known else None for kind, data in lists.items()}
        files[f"{device}.cnf.xml.sgn"] = configuration(cluster, node, device) if device in known else None
    return files


def configuration(cluster: Cluster, node: str, device: str) -> bytes:
    signer = cluster.identity(Purpose.CALLMANAGER, node)
    key = cluster.private_key(signer)
    made = {
        config.device: config
        for config in phone_configs(cluster.phones(), cluster.groups(), cluster.nodes(), cluster.security_mode)
    }
    name = f"{device}.cnf.xml"
    return sign_file(name, made[device].encode(), signer.certificate, key, timestamp=1)  # type: ignore[arg-type]


def view(
    cluster: Cluster,
    *devices: str,
    inside: bool = False,
    changes: Mapping[str, bytes | None] | None = None,
) -> SideView:
    """See a cluster; ``changes`` are files of the first TFTP node that are otherwise than they should be."""
    place = Place.of_cluster(cluster)
    nodes = []
    for number, (node, endpoint) in enumerate(zip(cluster.tftp_nodes(), place.endpoints, strict=True)):
        files = files_of(cluster, node.name, devices) | dict(changes or {} if number == 0 else {})
        nodes.append(TftpNode(endpoint, {name: file_of(name, data) for name, data in files.items()}))
    return SideView(place if inside else Place(cluster.name, place.endpoints), tuple(nodes), devices)


def survey(source: Cluster, destination: SideView) -> Survey:
    """What every TVS of ``source`` says, were it asked."""
    asked = signers_of(destination)
    reading = source.reading([])
    known = trusted_certificates(reading.identities, reading.trust)
    named = {Signer.of(Certificate.parse(der)): (der, roles) for der, roles in known.items()}
    answers = {}
    for one in asked:
        found = named.get(one.signer)
        answers[one.signer] = (
            Answered(Status.VALID, frozenset(found[1]), found[0]) if found else Answered(Status.INVALID)
        )
    nodes = [
        TvsNode(
            (node.address, node.ports[Service.TVS]),
            source.identity(Purpose.TVS, node.name).certificate,
            "TLSv1.2",
            answers=answers,
        )
        for node in source.nodes()
    ]
    return Survey(asked, tuple(nodes))


def seen(source: Cluster, destination: Cluster, *devices: str, inside: bool = False) -> Seen:
    """See both."""
    here, there = view(source, *devices, inside=inside), view(destination, *devices, inside=inside)
    return Seen(here, there, survey(source, there), NOW)


def of(checks: Iterable[Check], identifier: str) -> list[Check]:
    """Pick the checks of one id."""
    return [check for check in checks if check.id == identifier]


def verdicts(checks: Iterable[Check], identifier: str) -> set[str]:
    """Say what the checks of one id came to."""
    return {check.verdict for check in of(checks, identifier)}
