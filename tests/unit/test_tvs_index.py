"""What TVS answers for which question, worked out ahead."""

from datetime import UTC, datetime

import pytest

from certferry.serve.tvs_index import _CROWD, _LONGEST_MET, _MOST_MET, TvsIndex
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.tvs import (
    CertificateQueryReply,
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Message,
    Status,
    TvsMalformedError,
    parse_message,
)
from conftest import MakeCertificate

DEVICE = "CP-8861-SEPB000B4BA0AEE"
SIGNER = frozenset({Role.SAST, Role.TFTP})


def ask(index: TvsIndex, request: CertificateVerificationRequest | CertificateQueryRequest) -> Message:
    return parse_message(index.reply(request.encode()))


def about(certificate: Certificate, **changes: object) -> CertificateQueryRequest:
    values = {"subject": certificate.subject, "issuer": certificate.issuer, "serial": certificate.serial}
    return CertificateQueryRequest(1001, DEVICE, **(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def signer(make_certificate: MakeCertificate) -> Certificate:
    return make_certificate("CN=dst-pub;OU=Voice;O=Example;L=Osaka;ST=Osaka;C=JP", serial=0x00F1_0203)


@pytest.fixture(scope="module")
def index(signer: Certificate) -> TvsIndex:
    return TvsIndex.build([(signer, SIGNER)], version=7)


def test_a_known_certificate_is_verified_with_its_roles(index: TvsIndex, signer: Certificate) -> None:
    reply = ask(index, CertificateVerificationRequest(1002, DEVICE, signer.der))
    assert reply == CertificateVerificationReply(1002, Status.VALID, (0, 3), 86400)


def test_the_signer_of_a_new_list_is_found_by_its_names_and_serial(index: TvsIndex, signer: Certificate) -> None:
    assert ask(index, about(signer)) == CertificateQueryReply(1001, Status.VALID, signer.der, (0, 3), 86400)


def test_the_answer_is_what_the_codec_would_write(index: TvsIndex, signer: Certificate) -> None:
    written = CertificateQueryReply(1001, Status.VALID, signer.der, (0, 3), 86400).encode()
    assert index.reply(about(signer).encode()) == written


@pytest.mark.parametrize(
    "issuer",
    [
        "CN=dst-pub,OU=Voice,O=Example,L=Osaka,ST=Osaka,C=JP",
        "C=JP;ST=Osaka;L=Osaka;O=Example;OU=Voice;CN=dst-pub",
        "cn=DST-PUB; ou=voice; o=example; l=osaka; st=osaka; c=jp",
    ],
)
def test_another_spelling_of_the_issuer_finds_the_same(index: TvsIndex, signer: Certificate, issuer: str) -> None:
    assert ask(index, about(signer, issuer=issuer)) == ask(index, about(signer))


def test_leading_zeros_of_the_serial_do_not_count(index: TvsIndex, signer: Certificate) -> None:
    assert ask(index, about(signer, serial=b"\0\0" + signer.serial)) == ask(index, about(signer))


def test_the_subject_does_not_decide_as_in_unified_cm(index: TvsIndex, signer: Certificate) -> None:
    assert ask(index, about(signer, subject="")) == ask(index, about(signer))


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": b"\x01"},
        {"serial": b""},
        {"issuer": "CN=somebody-else"},
        {"issuer": ""},
        {"issuer": "CN=" + "x" * 3000, "subject": ""},
    ],
)
def test_an_unknown_name_or_serial_is_answered_with_the_status_alone(
    index: TvsIndex, signer: Certificate, changes: dict[str, object]
) -> None:
    assert index.reply(about(signer, **changes).encode()) == bytes.fromhex("57010400 000003e9 0004 07000101")


def test_an_unknown_certificate_is_answered_with_the_status_alone(
    index: TvsIndex, make_certificate: MakeCertificate
) -> None:
    request = CertificateVerificationRequest(1002, DEVICE, make_certificate("CN=stranger").der)
    assert index.reply(request.encode()) == bytes.fromhex("57010200 000003ea 0004 07000101")


def test_a_certificate_with_the_same_names_and_serial_but_other_bytes_is_not_verified(
    index: TvsIndex, signer: Certificate, make_certificate: MakeCertificate
) -> None:
    twin = make_certificate(signer.subject, serial=0x00F1_0203, not_after=datetime(2027, 1, 1, tzinfo=UTC))
    assert twin.serial == signer.serial
    reply = ask(index, CertificateVerificationRequest(1, DEVICE, twin.der))
    assert reply == CertificateVerificationReply(1, Status.INVALID)


def test_garbage_in_the_certificate_is_unknown_not_an_error(index: TvsIndex) -> None:
    reply = ask(index, CertificateVerificationRequest(1, DEVICE, b"\xff" * 700))
    assert reply == CertificateVerificationReply(1, Status.INVALID)


def test_a_certificate_without_roles_is_valid_for_nothing(signer: Certificate) -> None:
    index = TvsIndex.build([(signer, frozenset())])
    assert ask(index, about(signer)) == CertificateQueryReply(1001, Status.VALID, signer.der, (), 86400)
    verified = ask(index, CertificateVerificationRequest(1, DEVICE, signer.der))
    assert verified == CertificateVerificationReply(1, Status.VALID, (), 86400)


def test_roles_from_several_stores_are_united_in_order(signer: Certificate) -> None:
    index = TvsIndex.build([(signer, frozenset({Role.TVS, Role.TFTP})), (signer, frozenset({Role.SAST}))])
    assert len(index) == 1
    reply = ask(index, CertificateVerificationRequest(1, DEVICE, signer.der))
    assert reply == CertificateVerificationReply(1, Status.VALID, (0, 3, 21), 86400)


def test_where_serial_and_issuer_are_shared_the_subject_decides_then_the_roles(
    make_certificate: MakeCertificate,
) -> None:
    first = make_certificate("CN=first", issuer="CN=ca", serial=5)
    second = make_certificate("CN=second", issuer="CN=ca", serial=5)
    index = TvsIndex.build([(first, frozenset()), (second, SIGNER)])
    assert ask(index, about(first)) == CertificateQueryReply(1001, Status.VALID, first.der, (), 86400)
    assert ask(index, about(first, issuer="cn=CA")) == ask(index, about(first))
    assert ask(index, about(first, subject="")) == CertificateQueryReply(1001, Status.VALID, second.der, (0, 3), 86400)


def test_a_serial_of_zero_is_found(make_certificate: MakeCertificate) -> None:
    certificate = make_certificate("CN=one", serial=1)
    index = TvsIndex.build([(certificate, SIGNER)])
    assert ask(index, about(certificate, serial=b"\x00\x01")) == ask(index, about(certificate))


def test_the_ttl_is_told_in_both_answers(signer: Certificate) -> None:
    index = TvsIndex.build([(signer, SIGNER)], ttl=60)
    assert ask(index, about(signer)) == CertificateQueryReply(1001, Status.VALID, signer.der, (0, 3), 60)
    assert ask(index, CertificateVerificationRequest(1, DEVICE, signer.der)) == CertificateVerificationReply(
        1, Status.VALID, (0, 3), 60
    )


@pytest.mark.parametrize("session_id", [0, 1, 0xFFFFFFFF])
def test_the_session_id_comes_back(index: TvsIndex, signer: Certificate, session_id: int) -> None:
    reply = ask(index, CertificateVerificationRequest(session_id, DEVICE, signer.der))
    assert reply.session_id == session_id


def test_an_index_knows_its_version_and_size(index: TvsIndex) -> None:
    assert (index.version, len(index)) == (7, 1)


def test_an_empty_index_knows_nobody(signer: Certificate) -> None:
    assert ask(TvsIndex.build([]), about(signer)) == CertificateQueryReply(1001, Status.INVALID)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        CertificateVerificationReply(1, Status.VALID).encode(),
        CertificateQueryReply(1, Status.INVALID).encode(),
    ],
)
def test_what_is_no_request_is_refused(index: TvsIndex, message: bytes) -> None:
    with pytest.raises(TvsMalformedError):
        index.reply(message)


# Questions met before


def test_a_question_met_before_is_answered_alike_for_every_phone_and_session(
    index: TvsIndex, signer: Certificate
) -> None:
    for session_id, device in enumerate(("SEP000000000001", "CP-7962-SEP000000000002", "")):
        query = CertificateQueryRequest(session_id, device, signer.subject, signer.issuer, signer.serial)
        assert ask(index, query) == CertificateQueryReply(session_id, Status.VALID, signer.der, (0, 3), 86400)
        verification = CertificateVerificationRequest(session_id, device, signer.der)
        assert ask(index, verification) == CertificateVerificationReply(session_id, Status.VALID, (0, 3), 86400)


def test_a_question_met_before_with_another_command_is_not_taken_for_it(index: TvsIndex, signer: Certificate) -> None:
    message = bytearray(about(signer).encode())
    index.reply(bytes(message))
    message[2] = 1
    with pytest.raises(TvsMalformedError):
        index.reply(bytes(message))


@pytest.mark.parametrize("change", [(0, 0x58), (1, 2), (2, 4), (9, 1), (10, 3), (12, 0)])
def test_bytes_that_only_resemble_a_question_met_before_are_still_refused(
    index: TvsIndex, signer: Certificate, change: tuple[int, int]
) -> None:
    message = bytearray(about(signer).encode())
    index.reply(bytes(message))
    at, value = change
    message[at] = value
    with pytest.raises(TvsMalformedError):
        index.reply(bytes(message))


def test_a_device_element_that_overruns_the_message_is_refused_after_any_question(
    index: TvsIndex, signer: Certificate
) -> None:
    index.reply(about(signer).encode())
    with pytest.raises(TvsMalformedError):
        index.reply(bytes.fromhex("57010300000003e9 0004 01ffff00"))


def test_a_stranger_who_spells_a_question_in_thousands_of_ways_fills_no_memory(signer: Certificate) -> None:
    index = TvsIndex.build([(signer, SIGNER)])
    for number in range(3 * _MOST_MET):
        assert ask(index, about(signer, subject=f"CN={number}")) == ask(index, about(signer))
    assert len(index._met) <= _MOST_MET
    ask(index, about(signer, subject="x" * (_LONGEST_MET + 1)))
    assert max(map(len, index._met)) <= _LONGEST_MET


def test_what_is_unknown_is_not_remembered(signer: Certificate) -> None:
    index = TvsIndex.build([(signer, SIGNER)])
    ask(index, about(signer, serial=b"\x01"))
    ask(index, CertificateVerificationRequest(1, DEVICE, b"?"))
    assert not index._met


# --- an index made of another


def said(index: TvsIndex, certificate: Certificate) -> tuple[Message, Message]:
    return ask(index, about(certificate)), ask(index, CertificateVerificationRequest(2, DEVICE, certificate.der))


@pytest.fixture(scope="module")
def others(make_certificate: MakeCertificate) -> list[Certificate]:
    return [make_certificate(f"CN=other-{number}", serial=500 + number) for number in range(3)]


def test_what_changed_is_answered_and_the_rest_as_before(signer: Certificate, others: list[Certificate]) -> None:
    first, second, third = others
    before = TvsIndex.build([(signer, SIGNER), (first, SIGNER), (second, SIGNER)], ttl=60, version=1)
    after = before.changed({first.der: None, second.der: frozenset(), third.der: SIGNER}, version=2)
    fresh = TvsIndex.build([(signer, SIGNER), (second, frozenset()), (third, SIGNER)], ttl=60)
    assert (after.version, after.ttl, len(after)) == (2, 60, 3)
    for certificate in (signer, *others):
        assert said(after, certificate) == said(fresh, certificate)


def test_the_index_that_another_is_made_of_stays_as_it_was(signer: Certificate, others: list[Certificate]) -> None:
    before = TvsIndex.build([(signer, SIGNER)])
    told = [said(before, certificate) for certificate in (signer, *others)]
    before.changed({signer.der: None} | {each.der: SIGNER for each in others}, version=2)
    assert [said(before, certificate) for certificate in (signer, *others)] == told
    assert len(before) == 1


def test_one_that_comes_to_a_serial_asked_about_before_is_found(make_certificate: MakeCertificate) -> None:
    one, other = (make_certificate(f"CN=ca-{name}", serial=77) for name in ("one", "other"))
    before = TvsIndex.build([(one, SIGNER)])
    assert ask(before, about(other)) == CertificateQueryReply(1001, Status.INVALID)
    after = before.changed({other.der: SIGNER}, version=2)
    assert ask(after, about(one)) == ask(before, about(one))
    assert ask(after, about(other)) == CertificateQueryReply(1001, Status.VALID, other.der, (0, 3), 86400)
    gone = after.changed({one.der: None, other.der: None}, version=3)
    assert ask(gone, about(one)) == CertificateQueryReply(1001, Status.INVALID)


def test_a_crowd_with_one_serial_is_told_apart(make_certificate: MakeCertificate) -> None:
    crowd = [make_certificate(f"CN=appliance-{number}", serial=1) for number in range(_CROWD + 4)]
    index = TvsIndex.build([(each, SIGNER) for each in crowd[:-1]]).changed({crowd[-1].der: SIGNER}, version=2)
    for each in crowd:
        assert ask(index, about(each)) == CertificateQueryReply(1001, Status.VALID, each.der, (0, 3), 86400)


def test_however_an_index_came_about_the_same_of_two_equals_is_meant(make_certificate: MakeCertificate) -> None:
    twins = [make_certificate("CN=twin", serial=9, not_after=datetime(year, 1, 1, tzinfo=UTC)) for year in (2040, 2041)]
    whole = TvsIndex.build([(each, SIGNER) for each in twins])
    grown = TvsIndex.build([(twins[1], SIGNER)]).changed({twins[0].der: SIGNER}, version=2)
    assert ask(whole, about(twins[0])) == ask(grown, about(twins[0]))
