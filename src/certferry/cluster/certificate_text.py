"""What searches and imports look at, copied out of certificates as they are stored: inside a DER, SQL sees nothing."""

from collections.abc import Iterable
from hashlib import sha256

from sqlalchemy import Connection, select

from certferry.cluster import schema
from certferry.cluster.rows import count_rows
from certferry.cluster.upserting import upsert
from certferry.wire.certificate import Certificate
from certferry.wire.names import comparable


def put_texts(connection: Connection, certificates: Iterable[Certificate]) -> None:
    """Write what searches and imports look at; what is there already stays."""
    rows = [_row(certificate) for certificate in certificates]
    upsert(connection, schema.certificate_text, rows, keys=["sha256"])
    _put_names(connection, ((str(row["sha256"]), str(row["subject"])) for row in rows))


def name_key(subject: str) -> str:
    """Return what all spellings of one subject have in common, short: 32 digits in hex."""
    return sha256(comparable(subject).encode()).hexdigest()[:32]


def are_texts_there(connection: Connection) -> bool:
    """Whether what searches look at was copied out of every certificate."""
    return count_rows(connection, schema.certificate_text) == count_rows(connection, schema.certificate)


def put_missing_texts(connection: Connection) -> None:
    """Copy it out of those that came since."""
    stored, text = schema.certificate, schema.certificate_text
    unread = select(stored.c.der).where(stored.c.sha256.not_in(select(text.c.sha256)))
    put_texts(connection, [Certificate.parse(der) for der in connection.scalars(unread).all()])


def are_names_there(connection: Connection) -> bool:
    """Whether every certificate has its name; a cluster of an earlier release has none."""
    return count_rows(connection, schema.certificate_name) == count_rows(connection, schema.certificate)


def put_missing_names(connection: Connection) -> None:
    """Write the names that are not there, and the texts they are taken from."""
    if are_names_there(connection):
        return
    put_missing_texts(connection)
    text, name = schema.certificate_text, schema.certificate_name
    unnamed = select(text.c.sha256, text.c.subject).where(text.c.sha256.not_in(select(name.c.sha256)))
    _put_names(connection, [(row.sha256, row.subject) for row in connection.execute(unnamed).all()])


def _put_names(connection: Connection, subjects: Iterable[tuple[str, str]]) -> None:
    rows = [{"sha256": fingerprint, "name": name_key(subject)} for fingerprint, subject in subjects]
    upsert(connection, schema.certificate_name, rows, keys=["sha256"])


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
