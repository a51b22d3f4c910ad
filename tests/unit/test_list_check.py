"""Judging a trust list: each thing looked at, in each way it can turn out, and what is said to do about it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.errors import MalformedError
from certferry.trust.list_check import Check, check_list, find_signer, signature_of, tvs_certificates
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.signed_header import Digest
from certferry.wire.trust_list import PHONE_LIMIT, TrustList, TrustRecord, build_trust_list
from conftest import MakeCertificate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
Build = Callable[..., bytes]
IDS = ["list.signature", "list.signer", "list.size", "list.validity", "list.rollback"]


@pytest.fixture(scope="module")
def signer(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=pub")


@pytest.fixture(scope="module")
def tvs(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=tvs")


@pytest.fixture(scope="module")
def build(signer: Certificate, tvs: Certificate, rsa_key: rsa.RSAPrivateKey) -> Build:
    """Build an ITL as a cluster does; each argument replaces one part."""

    def make(
        records: list[TrustRecord] | None = None,
        by: Certificate = signer,
        key: rsa.RSAPrivateKey = rsa_key,
        digest: Digest = Digest.SHA1,
    ) -> bytes:
        usual = [record(signer, Role.SAST), record(signer, Role.TFTP), record(tvs, Role.TVS)]
        return build_trust_list(
            "ITL", usual if records is None else records, by, key, digest=digest, timestamp=1_700_000_000
        )

    return make


def record(certificate: Certificate, role: int) -> TrustRecord:
    return TrustRecord.of_certificate(certificate, role, "pub", "192.0.2.1")


def judge(data: bytes, trusted: bytes | None = None, now: datetime = NOW) -> dict[str, Check]:
    held = TrustList.parse(trusted) if trusted else None
    return {check.id: check for check in check_list(data, now, held)}


def verdicts(checks: dict[str, Check]) -> dict[str, str]:
    return {check.id: check.verdict for check in checks.values() if check.verdict != "pass"}


def test_a_good_list_passes_everything_in_a_fixed_order(build: Build) -> None:
    checks = judge(build())
    assert list(checks) == IDS
    assert verdicts(checks) == {}


def test_what_passes_has_no_remedy_and_what_does_not_has_one(build: Build, tvs: Certificate) -> None:
    for data in (build(), build([record(tvs, Role.TVS)]), build([])):
        for check in judge(data, trusted=build([])).values():
            assert bool(check.remedy) is (check.verdict != "pass"), check


# --- the signature


@pytest.mark.parametrize("digest", list(Digest))
def test_a_signature_that_holds_is_told_with_digest_and_signer(build: Build, digest: Digest) -> None:
    check = judge(build(digest=digest))["list.signature"]
    assert (check.verdict, check.evidence) == ("pass", f"{digest.name} signature by CN=pub holds")


def test_a_changed_list_fails(build: Build) -> None:
    data = bytearray(build())
    data[data.index(b"pub\0")] = ord("P")  # a name in a record
    check = judge(bytes(data))["list.signature"]
    assert check.verdict == "fail"
    assert "the file was changed" in check.evidence


def test_a_change_of_the_timestamp_alone_fails(build: Build) -> None:
    data = build()
    stamp = (1_700_000_000).to_bytes(4, "big")
    later = data.replace(stamp, (1_700_000_001).to_bytes(4, "big"))
    assert later != data
    assert verdicts(judge(later)) == {"list.signature": "fail"}


def test_a_list_signed_with_a_key_that_is_not_the_named_signers_fails(
    build: Build, signer: Certificate, other_rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
) -> None:
    impostor = make_certificate("CN=pub", key=other_rsa_key, serial=int.from_bytes(signer.serial, "big"))
    data = build([record(signer, Role.SAST)], by=impostor, key=other_rsa_key)
    assert verdicts(judge(data)) == {"list.signature": "fail"}


def test_a_list_without_its_signer_cannot_be_verified_by_itself(build: Build, tvs: Certificate) -> None:
    checks = judge(build([record(tvs, Role.TVS)]))
    assert verdicts(checks) == {"list.signature": "unknown", "list.signer": "fail"}
    assert checks["list.signature"].evidence == "the signer CN=pub has no usable record here"


def test_a_list_without_its_signer_is_verified_by_the_one_a_phone_holds(build: Build, tvs: Certificate) -> None:
    data = build([record(tvs, Role.TVS)])
    assert verdicts(judge(data, trusted=build())) == {"list.signer": "fail"}


def test_a_signer_whose_certificate_cannot_be_read_leaves_the_signature_open(build: Build, signer: Certificate) -> None:
    broken = TrustRecord(Role.SAST, "pub", signer.subject, signer.issuer, signer.serial, certificate=b"\x30\x03abc")
    checks = judge(build([broken]))
    assert verdicts(checks) == {"list.signature": "unknown", "list.validity": "warn"}


def test_a_signer_recorded_without_its_certificate_is_taken_from_the_list_a_phone_holds(
    build: Build, signer: Certificate
) -> None:
    bare = TrustRecord(Role.SAST, "pub", signer.subject, signer.issuer, signer.serial)
    assert signature_of(build([bare]), TrustList.parse(build([bare]))) == "unverifiable"
    assert signature_of(build([bare]), TrustList.parse(build([bare])), TrustList.parse(build())) == "valid"


# --- the signer


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SAST])
def test_only_a_sast_record_makes_a_signer(build: Build, signer: Certificate, role: Role) -> None:
    data = build([record(signer, role)])
    assert find_signer(TrustList.parse(data), TrustList.parse(data)) is None
    assert judge(data)["list.signer"].verdict == "fail"


def test_the_signer_is_told_with_its_serial(build: Build, signer: Certificate) -> None:
    assert judge(build())["list.signer"].evidence == f"CN=pub, serial {signer.serial_hex}"
    assert judge(build([]))["list.signer"].evidence == f"CN=pub, serial {signer.serial_hex} is not"


def test_a_namesake_with_another_serial_is_another_signer(build: Build, make_certificate: MakeCertificate) -> None:
    assert judge(build([record(make_certificate("CN=pub"), Role.SAST)]))["list.signer"].verdict == "fail"


# --- the size


def test_39_certificates_pass_and_40_do_not(
    build: Build, signer: Certificate, make_certificate: MakeCertificate
) -> None:
    others = [record(make_certificate(f"CN=tvs{number}", ec=True), Role.TVS) for number in range(39)]
    first = record(signer, Role.SAST)
    assert judge(build([first, *others[:38]]))["list.size"].verdict == "pass"
    check = judge(build([first, *others]))["list.size"]
    assert check.verdict == "fail"
    assert "40 certificates" in check.evidence
    assert "Remove unused nodes" in check.remedy


def test_a_certificate_in_several_roles_counts_once(build: Build, signer: Certificate) -> None:
    assert judge(build([record(signer, Role.SAST), record(signer, Role.TFTP)]))["list.size"].evidence.endswith(
        "bytes, 1 certificates"
    )


def test_more_than_64_kilobytes_are_too_much_whatever_the_count(build: Build, signer: Certificate) -> None:
    data = build([record(signer, Role.SAST)] * 60)
    assert len(data) > PHONE_LIMIT
    check = judge(data)["list.size"]
    assert (check.verdict, check.evidence) == ("fail", f"{len(data)} bytes, 1 certificates")


# --- validity


def test_an_expired_certificate_is_a_warning_that_names_it_once(build: Build, signer: Certificate) -> None:
    check = judge(build(), now=signer.not_after + timedelta(seconds=1))["list.validity"]
    assert check.verdict == "warn"
    assert check.evidence.count(f"CN=pub expired on {signer.not_after:%Y-%m-%d}") == 1


def test_a_certificate_that_is_not_valid_yet_is_a_warning(build: Build, signer: Certificate) -> None:
    check = judge(build(), now=signer.not_before - timedelta(seconds=1))["list.validity"]
    assert check.verdict == "warn"
    assert f"CN=pub is valid only from {signer.not_before:%Y-%m-%d}" in check.evidence


def test_the_first_and_the_last_second_of_a_certificate_are_valid(build: Build, signer: Certificate) -> None:
    for moment in (signer.not_before, signer.not_after):
        assert judge(build(), now=moment)["list.validity"].verdict == "pass"


def test_a_certificate_that_cannot_be_read_is_told_with_its_role(build: Build, signer: Certificate) -> None:
    broken = TrustRecord(Role.CAPF, "pub", "CN=CAPF-1", "CN=CAPF-1", b"\1", certificate=b"not DER")
    check = judge(build([record(signer, Role.SAST), broken]))["list.validity"]
    assert check.verdict == "warn"
    assert check.evidence.startswith("CAPF CN=CAPF-1: not a usable X.509 certificate")


# --- rollback


def test_emptied_records_fail_and_their_roles_are_told(build: Build, signer: Certificate) -> None:
    emptied = [TrustRecord.emptied("pub", role, "192.0.2.1") for role in (Role.TVS, Role.CALLMANAGER_TFTP, Role.TVS)]
    checks = judge(build([record(signer, Role.SAST), *emptied]))
    assert verdicts(checks) == {"list.rollback": "fail"}
    assert checks["list.rollback"].evidence == "3 emptied records: CCM+TFTP, TVS"
    assert "Prepare Cluster for Rollback to Pre 8.0 to False" in checks["list.rollback"].remedy


# --- against the list a phone holds


def test_a_list_signed_by_a_sast_of_the_trusted_list_is_accepted(build: Build, signer: Certificate) -> None:
    checks = judge(build(), trusted=build([record(signer, Role.SAST)]))
    assert list(checks) == [*IDS, "list.accepted"]
    assert checks["list.accepted"].evidence == "CN=pub is a SAST of the trusted list"
    assert verdicts(checks) == {}


def test_a_foreign_signer_is_not_accepted_and_the_remedy_is_to_ask_tvs(
    build: Build, signer: Certificate, tvs: Certificate
) -> None:
    checks = judge(build(), trusted=build([record(tvs, Role.SAST)]))
    assert verdicts(checks) == {"list.accepted": "fail"}
    assert checks["list.accepted"].evidence == (f"CN=pub, serial {signer.serial_hex}, is no SAST of the trusted list")
    assert "TVS" in checks["list.accepted"].remedy


@pytest.mark.parametrize("role", [Role.TFTP, Role.CALLMANAGER_TFTP, Role.TVS])
def test_a_signer_that_the_trusted_list_knows_in_another_role_is_not_accepted(
    build: Build, signer: Certificate, role: Role
) -> None:
    assert verdicts(judge(build(), trusted=build([record(signer, role)]))) == {"list.accepted": "fail"}


def test_a_forger_who_takes_a_trusted_signers_name_and_serial_is_not_accepted(
    build: Build, signer: Certificate, other_rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
) -> None:
    forger = make_certificate("CN=pub", key=other_rsa_key, serial=int.from_bytes(signer.serial, "big"))
    forged = build([record(forger, Role.SAST)], by=forger, key=other_rsa_key)
    checks = judge(forged, trusted=build())
    assert verdicts(checks) == {"list.accepted": "fail"}
    assert "not made with its key" in checks["list.accepted"].evidence


def test_a_trusted_list_whose_signer_has_no_certificate_accepts_nothing(build: Build, signer: Certificate) -> None:
    bare = TrustRecord(Role.SAST, "pub", signer.subject, signer.issuer, signer.serial)
    assert judge(build(), trusted=build([bare]))["list.accepted"].verdict == "fail"


def test_a_trusted_list_with_an_unreadable_signer_is_judged_and_accepts_nothing(
    build: Build, signer: Certificate
) -> None:
    broken = TrustRecord(Role.SAST, "pub", signer.subject, signer.issuer, signer.serial, certificate=b"not DER")
    assert verdicts(judge(build(), trusted=build([broken]))) == {"list.accepted": "fail"}


# --- and besides


def test_what_is_no_trust_list_is_refused_by_the_codec(build: Build) -> None:
    with pytest.raises(MalformedError):
        check_list(build()[:100], NOW)


def test_the_tvs_certificates_a_phone_accepts_are_those_with_that_role(
    build: Build, signer: Certificate, tvs: Certificate
) -> None:
    emptied = TrustRecord.emptied("sub", Role.TVS, "192.0.2.2")
    assert tvs_certificates(TrustList.parse(build())) == (tvs,)
    assert tvs_certificates(TrustList.parse(build([record(signer, Role.SAST), emptied]))) == ()
