"""What searches look at, copied out of certificates as they are stored: inside a DER, SQL sees nothing."""

from collections.abc import Iterable

from sqlalchemy import Connection

from certferry.cluster import schema
from certferry.cluster.upserting import upsert
from certferry.wire.certificate import Certificate


def put_texts(connection: Connection, certificates: Iterable[Certificate]) -> None:
    """Write what searches look at; what is there already stays."""
    rows = [_row(certificate) for certificate in certificates]
    upsert(connection, schema.certificate_text, rows, keys=["sha256"])


def _row(certificate: Certificate) -> dict[str, object]:
    searched = certificate.subject, certificate.issuer, certificate.serial_hex, certificate.sha256
    return {
        "sha256": certificate.sha256,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "searched": "\n".join(dict.fromkeys(searched)),
        "common_name": certificate.common_name,
        "serial": certificate.serial_hex,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "key": f"{certificate.key_kind} {certificate.key_bits}",
    }
