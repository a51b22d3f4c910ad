"""From the cluster's values to the shapes of the API; the pages draw the same."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha1, sha256
from typing import Any, TypeVar

from cryptography import x509

from certferry.bulk.settings import SftpSettings
from certferry.cluster.accounts import Token
from certferry.cluster.cluster import Cluster
from certferry.cluster.list_status import served_lists
from certferry.cluster.parameters import PARAMETERS
from certferry.cluster.phone_search import PhoneLine, ServedDigests
from certferry.cluster.searching import Found, HistoryLine, Slice, TrustLine
from certferry.cluster.values import Identity
from certferry.cluster.web_jobs import Job
from certferry.trust.list_check import signature_of
from certferry.trust.purpose import Store
from certferry.web import certificate_models, models, work_models
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role, role_text
from certferry.wire.trust_list import TrustList, TrustRecord

T = TypeVar("T")
M = TypeVar("M")
_DIGESTS = {"SHA1": "SHA-1", "SHA256": "SHA-256", "SHA512": "SHA-512"}


def page(found: Found[T], part: Slice, view: Callable[[T], M]) -> dict[str, Any]:
    """Make a page of a search's answer; the cursor is the number of items before the next page."""
    end = part.skip + len(found.items)
    following = str(end) if found.items and end < found.total else None
    return {"items": [view(item) for item in found.items], "next": following, "total": found.total}


def cluster_view(cluster: Cluster) -> models.ClusterAnswer:
    """Describe a cluster."""
    served, running = cluster.served(), cluster.heartbeats.running()
    return models.ClusterAnswer(
        name=cluster.name,
        release=str(cluster.release),
        security_mode=cluster.security_mode.value,
        nodes=[
            models.NodeAnswer(
                name=node.name,
                address=node.address,
                roles=sorted(node.roles),
                ports={service.value: port for service, port in node.ports.items()},
                served_version=served.get(node.name),
                running=node.name in running,
            )
            for node in cluster.nodes()
        ],
        groups=[models.GroupAnswer(name=group.name, members=list(group.members)) for group in cluster.groups()],
        version=cluster.version(),
        **cluster.counts(),
    )


def parameters_view(cluster: Cluster) -> list[models.ParameterAnswer]:
    """Describe the enterprise parameters."""
    values = cluster.parameters()
    return [
        models.ParameterAnswer(key=each.key, title=each.title, value=values[each.key], default=each.default)
        for each in PARAMETERS.values()
    ]


def certificate_fields(certificate: Certificate) -> dict[str, Any]:
    """Describe what lists show of a certificate."""
    return {
        "sha256": certificate.sha256,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "common_name": certificate.common_name,
        "serial": certificate.serial_hex,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "key": f"{certificate.key_kind} {certificate.key_bits}",
    }


def own_view(identity: Identity) -> certificate_models.OwnAnswer:
    """Describe one of the cluster's own certificates."""
    fields = certificate_fields(identity.certificate)
    return certificate_models.OwnAnswer(purpose=identity.purpose, node=identity.node, **fields)


def trust_view(line: TrustLine) -> certificate_models.TrustAnswer:
    """Describe an entry of a trust store."""
    return certificate_models.TrustAnswer(
        store=line.store,
        sha256=line.sha256,
        subject=line.subject,
        issuer=line.issuer,
        common_name=line.common_name,
        serial=line.serial,
        not_before=line.not_before,
        not_after=line.not_after,
        key=line.key,
        origin=line.origin,
        own=line.is_own,
        added_at=line.added_at,
        description=line.description,
    )


def certificate_view(
    certificate: Certificate, identities: Iterable[Identity], stores: Sequence[Store]
) -> certificate_models.CertificateDetail:
    """Describe a certificate with all fields."""
    uses = [each for each in identities if each.certificate == certificate]
    loaded = certificate.x509
    return certificate_models.CertificateDetail(
        **certificate_fields(certificate),
        sha1=certificate.sha1,
        signature_algorithm=_algorithm(loaded),
        self_signed=certificate.is_self_signed,
        extensions=_extensions(loaded),
        alternative_names=_alternative_names(loaded),
        used_for=[certificate_models.UseAnswer(purpose=each.purpose, node=each.node) for each in uses],
        stores=list(stores),
        pem=certificate.pem,
    )


def _algorithm(loaded: x509.Certificate) -> str:
    oid = loaded.signature_algorithm_oid
    name = getattr(oid, "_name", "Unknown OID")
    return oid.dotted_string if name == "Unknown OID" else str(name)


def _extensions(loaded: x509.Certificate) -> list[dict[str, Any]]:
    try:
        found = list(loaded.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return []  # phones do not read extensions; unreadable ones are simply not shown
    return [{"oid": each.oid.dotted_string, "critical": each.critical, "value": str(each.value)} for each in found]


def _alternative_names(loaded: x509.Certificate) -> list[str]:
    try:
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return []
    return [str(name.value) for name in names]


def lists_view(cluster: Cluster) -> list[certificate_models.ListAnswer]:
    """Decode all trust lists of a cluster, the CTL first."""
    wanted = [("CTL", None), *(("ITL", node.name) for node in cluster.tftp_nodes())]
    found = ((kind, node, cluster.trust_list("CTL" if kind == "CTL" else "ITL", node)) for kind, node in wanted)
    return [list_view(kind, node, data) for kind, node, data in found if data is not None]


def list_view(kind: str, node: str | None, data: bytes) -> certificate_models.ListAnswer:
    """Decode a trust list."""
    parsed = TrustList.parse(data)
    header = parsed.header
    return certificate_models.ListAnswer(
        kind="CTL" if kind == "CTL" else "ITL",
        node=node,
        version=".".join(map(str, header.version)),
        filename=header.filename,
        timestamp=datetime.fromtimestamp(header.timestamp, UTC) if header.timestamp else None,
        digest=_DIGESTS[header.digest.name],
        signer=certificate_models.SignerAnswer(
            subject=header.subject, issuer=header.issuer, serial=header.serial.hex().upper()
        ),
        signature=signature_of(data, parsed),
        bytes=len(data),
        sha1=sha1(data, usedforsecurity=False).hexdigest().upper(),
        sha256=sha256(data).hexdigest(),
        records=[_record(record) for record in parsed.records],
    )


def _record(record: TrustRecord) -> certificate_models.RecordAnswer:
    return certificate_models.RecordAnswer(
        role="SAST" if record.role == Role.SAST else role_text(record.role),
        role_code=record.role,
        subject=record.subject or "",
        issuer=record.issuer or "",
        serial=record.serial.hex().upper() if record.serial else "",
        dns_name=record.dns_name,
        ip_address=record.ip_address,
        sha256=sha256(record.certificate).hexdigest() if record.certificate else None,
        emptied=record.is_emptied,
    )


def served_digests(cluster: Cluster) -> ServedDigests:
    """Tell what phones should hold."""
    served = served_lists(cluster)
    return ServedDigests(served.ctl, served.itls)


def phone_view(line: PhoneLine) -> models.PhoneAnswer:
    """Describe a phone."""
    phone = line.phone
    return models.PhoneAnswer.model_construct(
        ctl_status=line.ctl,
        itl_status=line.itl,
        list_status=line.status,
        lists_told_at=line.told_at,
        registered=line.is_registered,
        registered_node=line.node or None,
        registered_address=line.address or None,
        registered_at=line.registered_at,
        device=phone.device,
        model=phone.model,
        group=phone.group,
        secure=phone.secure,
        description=phone.description,
    )


def sftp_view(settings: SftpSettings) -> work_models.SftpAnswer:
    """Describe the SFTP settings without their secrets."""
    return work_models.SftpAnswer(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        directory=settings.directory,
        password_set=bool(settings.password),
        client_key=str(settings.client_key) if settings.client_key else None,
        host_key=settings.host_key,
    )


def history_view(line: HistoryLine) -> work_models.HistoryAnswer:
    """Describe a change of the trust stores."""
    return work_models.HistoryAnswer(
        id=line.id,
        at=line.at,
        actor=line.actor,
        action=line.action,
        changes=line.changes,
        details=json.loads(line.details),
        undone=line.undone,
    )


def audit_view(line: str) -> work_models.AuditAnswer:
    """Describe a line of the audit log."""
    entry: dict[str, Any] = json.loads(line)
    at, actor, action = (entry.pop(key) for key in ("at", "actor", "action"))
    entry.pop("previous")
    return work_models.AuditAnswer(at=at, actor=actor, action=action, details=entry)


def token_fields(token: Token) -> dict[str, Any]:
    """Describe a token without its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "created_by": token.created_by,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }


def job_view(job: Job) -> work_models.JobAnswer:
    """Describe a job."""
    return work_models.JobAnswer.model_validate(job.to_json())
