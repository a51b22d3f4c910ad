"""Judging a trust list by itself, and against the list a phone holds: signature, signer, size, validity."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from certferry.trust.list_rules import MAXIMUM_CERTIFICATES
from certferry.wire.certificate import Certificate, CertificateMalformedError
from certferry.wire.roles import Role, role_text
from certferry.wire.signed_header import verify
from certferry.wire.trust_list import PHONE_LIMIT, TrustList, TrustRecord

Verdict = Literal["pass", "warn", "fail", "unknown"]
Signature = Literal["valid", "invalid", "unverifiable"]
SIGNERS = (Role.SAST,)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: a stable ``id``, a title, the verdict, what was seen, and what to do about it."""

    id: str
    title: str
    verdict: Verdict
    evidence: str
    remedy: str = ""


def find_signer(trust_list: TrustList, among: TrustList) -> TrustRecord | None:
    """Find the SAST record of ``among`` that signed ``trust_list``, by subject, issuer and serial."""
    header = trust_list.header
    return among.find(header.subject, header.issuer, header.serial, *SIGNERS)


def signature_of(data: bytes, trust_list: TrustList, trusted: TrustList | None = None) -> Signature:
    """Say whether the signature holds, by the signer's record in the list itself or in ``trusted``."""
    for among in (trust_list, trusted):
        record = find_signer(trust_list, among) if among else None
        if record and record.certificate:
            return _judge(data, record)
    return "unverifiable"


def _judge(data: bytes, record: TrustRecord) -> Signature:
    try:
        return "valid" if verify(data, record.parsed) else "invalid"
    except CertificateMalformedError:
        return "unverifiable"


def check_list(data: bytes, now: datetime, trusted: TrustList | None = None) -> tuple[Check, ...]:
    """Look at everything a phone or an administrator would trip over in a list."""
    trust_list = TrustList.parse(data)
    checks = [_signature(data, trust_list, trusted), _signer(trust_list), _size(data, trust_list)]
    checks += _validity(trust_list, now)
    checks.append(_emptied(trust_list))
    if trusted is not None:
        checks.append(_acceptance(data, trust_list, trusted))
    return tuple(checks)


def _signature(data: bytes, trust_list: TrustList, trusted: TrustList | None) -> Check:
    found = signature_of(data, trust_list, trusted)
    verdict: dict[Signature, Verdict] = {"valid": "pass", "invalid": "fail", "unverifiable": "unknown"}
    evidence = {
        "valid": f"{trust_list.header.digest.name} signature by {trust_list.header.subject} holds",
        "invalid": f"it is not the signature of {trust_list.header.subject}: the file was changed",
        "unverifiable": f"the signer {trust_list.header.subject} has no usable record here",
    }
    remedy = "" if found == "valid" else "Fetch the file again; if it stays so, rebuild it on its cluster."
    return Check("list.signature", "The signature holds", verdict[found], evidence[found], remedy)


def _signer(trust_list: TrustList) -> Check:
    title = "The signer is in the list as SAST"
    header = trust_list.header
    evidence = f"{header.subject}, serial {header.serial.hex().upper()}"
    if find_signer(trust_list, trust_list):
        return Check("list.signer", title, "pass", evidence)
    remedy = "Restart TFTP on the node that made it (certferry: cert regenerate), so that it is built anew."
    return Check("list.signer", title, "fail", f"{evidence} is not", remedy)


def _size(data: bytes, trust_list: TrustList) -> Check:
    title = "A phone can load it: at most 64 KB and 39 certificates"
    count = len({record.certificate for record in trust_list.records if record.certificate})
    evidence = f"{len(data)} bytes, {count} certificates"
    if len(data) > PHONE_LIMIT or count > MAXIMUM_CERTIFICATES:
        return Check("list.size", title, "fail", evidence, "Remove unused nodes and certificates from the cluster.")
    return Check("list.size", title, "pass", evidence)


def _validity(trust_list: TrustList, now: datetime) -> Iterator[Check]:
    title = "Its certificates are within their validity"
    faults = [text for record in trust_list.records if record.certificate for text in _out_of_date(record, now)]
    if faults:
        remedy = "Regenerate the certificates named, then let the phones reset."
        yield Check("list.validity", title, "warn", "; ".join(dict.fromkeys(faults)), remedy)
    else:
        yield Check("list.validity", title, "pass", f"on {now:%Y-%m-%d}")


def _out_of_date(record: TrustRecord, now: datetime) -> Iterator[str]:
    try:
        certificate = record.parsed
    except CertificateMalformedError as error:
        yield f"{role_text(record.role)} {record.subject}: {error}"
        return
    yield from _dates(certificate, now)


def _dates(certificate: Certificate, now: datetime) -> Iterator[str]:
    if now > certificate.not_after:
        yield f"{certificate.subject} expired on {certificate.not_after:%Y-%m-%d}"
    elif now < certificate.not_before:
        yield f"{certificate.subject} is valid only from {certificate.not_before:%Y-%m-%d}"


def _emptied(trust_list: TrustList) -> Check:
    title = "No entries are emptied (Prepare Cluster for Rollback to Pre 8.0 is False)"
    emptied = [record for record in trust_list.records if record.is_emptied]
    if not emptied:
        return Check("list.rollback", title, "pass", f"{len(trust_list.records)} records, none empty")
    roles = ", ".join(sorted({role_text(record.role) for record in emptied}))
    if trust_list.header.filename.upper().startswith("CTL"):
        # The switch leaves a CTL alone; leaving mixed mode empties it, and phones are to take it (1.10, 4.5).
        title = "The CTL was emptied when the cluster left mixed mode: phones take it and use their ITL"
        return Check("list.left-mixed-mode", title, "pass", f"{len(emptied)} emptied records: {roles}")
    remedy = "Set Prepare Cluster for Rollback to Pre 8.0 to False, restart TVS and TFTP, reset the phones."
    return Check("list.rollback", title, "fail", f"{len(emptied)} emptied records: {roles}", remedy)


def _acceptance(data: bytes, trust_list: TrustList, trusted: TrustList) -> Check:
    title = "A phone that holds the trusted list accepts it without asking TVS"
    header = trust_list.header
    record = find_signer(trust_list, trusted)
    if record is None or not record.certificate:
        evidence = f"{header.subject}, serial {header.serial.hex().upper()}, is no SAST of the trusted list"
        remedy = "Such a phone asks its TVS. See that TVS vouches: certferry tvs ask HOST SIGNER.pem --query"
        return Check("list.accepted", title, "fail", evidence, remedy)
    if _judge(data, record) != "valid":
        evidence = f"the trusted list has {header.subject}, but the signature is not made with its key"
        return Check("list.accepted", title, "fail", evidence, "Fetch the file again from its TFTP node.")
    return Check("list.accepted", title, "pass", f"{header.subject} is a SAST of the trusted list")


def tvs_certificates(trust_list: TrustList) -> tuple[Certificate, ...]:
    """Return the TVS certificates a phone that holds this list accepts; none where they are emptied."""
    return tuple(record.parsed for record in trust_list.records_with_role(Role.TVS) if record.certificate)
