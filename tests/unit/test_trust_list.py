"""Trust lists have the published lengths, name their signer, and refuse to contradict themselves."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import published_lists as published
from certferry.wire import trust_list
from certferry.wire.certificate import CertificateMalformedError
from certferry.wire.roles import Role
from certferry.wire.signed_header import Digest, SignerKeyError, verify
from certferry.wire.tlv import TagMissingError, TagRepeatedError, TextMalformedError, ValueLengthError, number, tlv
from certferry.wire.trust_list import (
    MAX_SIZE,
    AddressMalformedError,
    CertificateAbsentError,
    RecordLengthError,
    TrustList,
    TrustListTooLongError,
    TrustRecord,
    build_trust_list,
)
from conftest import MakeCertificate

NOW = 1_790_000_000


def record_of(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return number(1, 5 + len(content), 2) + content


# --- published lengths (phone-trust 1.7) ---------------------------------------------------------------------


def test_the_sast_record_of_a_1024_bit_tokenless_ctl_is_1156_bytes() -> None:
    assert published.small_key_record(Role.SAST).size == 1156


def test_the_record_after_regeneration_with_2048_bits_is_1675_bytes() -> None:
    assert published.large_key_record(Role.SAST).size == 1675


def test_a_hardware_token_record_is_1186_bytes_with_no_name_and_no_signature() -> None:
    record = published.token_record()
    data = record.encode()
    assert len(data) == 1186
    assert data[5:9] == b"\x02\0\x01\0"
    assert len(published.TOKEN_NAME) + 1 == 56
    assert TrustRecord.parse(data) == record


def test_an_emptied_record_is_33_bytes_of_name_role_and_address() -> None:
    record = TrustRecord.emptied("10.48.47.153", Role.CALLMANAGER_TFTP, "10.48.47.153")
    assert record.encode().hex(" ") == (
        "01 00 02 00 21 02 00 0d 31 30 2e 34 38 2e 34 37 2e 31 35 33 00 04 00 02 00 02 0a 00 04 0a 30 2f 99"
    )
    assert (record.size, record.is_emptied) == (33, True)


@pytest.mark.parametrize(
    ("trust_list", "header", "total"),
    [
        (published.tokenless_1024(), 336, 4947),
        (published.tokenless_2048(), 464, 6113),
        (published.back_to_non_secure(), 304, 3746),
    ],
    ids=["tokenless 1024", "tokenless 2048", "back to non-secure"],
)
def test_a_whole_file_has_the_published_length(trust_list: TrustList, header: int, total: int) -> None:
    data = trust_list.encode()
    assert (len(trust_list.header.encode()), len(data)) == (header, total)
    assert TrustList.parse(data) == trust_list


def test_unified_cm_order_is_tags_1_to_10() -> None:
    data = published.small_key_record(Role.SAST).encode()
    tags, position = [], 0
    while position < len(data):
        tags.append(data[position])
        position += 3 + int.from_bytes(data[position + 1 : position + 3], "big")
    assert tags == list(range(1, 11))


# --- records -------------------------------------------------------------------------------------------------


def test_a_record_takes_over_what_its_certificate_says(make_certificate: MakeCertificate) -> None:
    certificate = make_certificate("CN=sub;O=Example")
    record = TrustRecord.of_certificate(certificate, Role.TVS, "sub", "192.0.2.7")
    assert (record.subject, record.serial, record.certificate) == (
        "CN=sub;O=Example",
        certificate.serial,
        certificate.der,
    )
    assert (record.role, record.dns_name, record.ip_address) == (Role.TVS, "sub", "192.0.2.7")
    assert TrustRecord.parse(record.encode()) == record
    assert record.parsed == certificate


def test_an_ec_certificate_gives_a_record_with_the_uncompressed_point(make_certificate: MakeCertificate) -> None:
    record = TrustRecord.of_certificate(make_certificate("CN=pub-EC", ec=True), Role.TFTP, "pub")
    assert (len(record.public_key), record.public_key[0]) == (65, 4)
    assert TrustRecord.parse(record.encode()) == record


def test_a_2048_bit_key_is_270_bytes_as_published(make_certificate: MakeCertificate) -> None:
    assert len(TrustRecord.of_certificate(make_certificate(), Role.SAST).public_key) == 270


def test_opaque_certificate_bytes_are_kept_and_fail_only_when_opened() -> None:
    record = TrustRecord.parse(published.small_key_record(Role.SAST).encode())
    assert record.certificate == published.filler(694)
    with pytest.raises(CertificateMalformedError):
        _ = record.parsed


def test_an_emptied_record_has_no_certificate_to_open() -> None:
    with pytest.raises(CertificateAbsentError, match="pub"):
        _ = TrustRecord.emptied("pub", Role.TVS, "192.0.2.1").parsed


def test_elements_of_a_record_may_come_in_any_order() -> None:
    record = TrustRecord(Role.SAST, "pub", "CN=a", "CN=b", b"\x01", b"key", b"sig", b"der", "192.0.2.1")
    data = record.encode()
    pieces, position = [], 5
    while position < len(data):
        end = position + 3 + int.from_bytes(data[position + 1 : position + 3], "big")
        pieces.append(data[position:end])
        position = end
    rotated = [pieces[at:] + pieces[:at] for at in range(len(pieces))]
    for order in (*rotated, pieces[::-1]):
        assert TrustRecord.parse(record_of(*order)) == record


def test_a_record_of_another_writer_without_name_and_address_is_read() -> None:
    data = record_of(
        tlv(3, b"CN=a\0"), tlv(5, b"CN=b\0"), tlv(6, b"\x09"), tlv(4, b"\0\0"), tlv(7, b"k"), tlv(8, b"s"), tlv(9, b"c")
    )
    assert TrustRecord.parse(data) == TrustRecord(0, "", "CN=a", "CN=b", b"\x09", b"k", b"s", b"c")


def test_a_record_with_a_hash_instead_of_the_certificate_is_read() -> None:
    data = record_of(
        tlv(3, b"CN=a\0"), tlv(4, b"\0\x03"), tlv(5, b"CN=b\0"), tlv(6, b"\x09"), tlv(11, b"h" * 32), tlv(12, b"\x02")
    )
    record = TrustRecord.parse(data)
    assert (record.certificate_hash, record.hash_algorithm, record.certificate) == (b"h" * 32, 2, b"")
    assert not record.is_emptied
    assert TrustRecord.parse(record.encode()) == record


def test_unknown_elements_of_a_record_are_skipped() -> None:
    known = TrustRecord.emptied("pub", Role.TVS, "192.0.2.1")
    assert TrustRecord.parse(record_of(known.encode()[5:], tlv(99, b"new"), tlv(99, b"newer"))) == known


def test_an_unassigned_role_is_kept_as_its_number() -> None:
    assert TrustRecord.parse(record_of(tlv(4, b"\x01\x09"))).role == 265


def test_an_address_that_is_not_ipv4_is_not_written() -> None:
    with pytest.raises(AddressMalformedError, match="2001:db8::1"):
        TrustRecord.emptied("pub", Role.TVS, "2001:db8::1").encode()


# --- contradictions ------------------------------------------------------------------------------------------


def test_a_record_that_ends_before_its_content_is_refused() -> None:
    data = bytearray(published.small_key_record(Role.SAST).encode())
    data[3:5] = (1100).to_bytes(2, "big")
    with pytest.raises(RecordLengthError):
        TrustRecord.parse(bytes(data))


def test_an_element_that_leaves_its_record_is_refused_with_its_offset() -> None:
    inner = tlv(4, b"\0\0") + b"\x09\x00\x10abc"
    with pytest.raises(RecordLengthError, match=r"record at offset 0.*16 bytes at offset 13 but 3 are left"):
        TrustRecord.parse(record_of(inner))


def test_a_record_that_reaches_beyond_the_file_is_refused() -> None:
    data = published.tokenless_1024().encode()
    with pytest.raises(RecordLengthError, match="record at offset 3786 says 1161 bytes and 1160 are left"):
        TrustList.parse(data[:-1])


@pytest.mark.parametrize("length", [0, 4])
def test_a_record_shorter_than_its_own_length_element_is_refused(length: int) -> None:
    with pytest.raises(RecordLengthError):
        TrustRecord.parse(number(1, length, 2))


def test_a_record_that_starts_with_anything_but_its_length_is_refused() -> None:
    with pytest.raises(TagMissingError, match=r"tag 1.*offset 0 but tag 2"):
        TrustRecord.parse(tlv(2, b"pub\0"))


def test_a_record_without_a_role_is_refused() -> None:
    with pytest.raises(TagMissingError, match="tag 4"):
        TrustRecord.parse(record_of(tlv(2, b"pub\0")))


@pytest.mark.parametrize("absent", [3, 5, 6])
def test_a_certificate_without_its_names_or_serial_is_refused(absent: int) -> None:
    elements = {3: tlv(3, b"CN=a\0"), 4: tlv(4, b"\0\0"), 5: tlv(5, b"CN=b\0"), 6: tlv(6, b"\1"), 9: tlv(9, b"c")}
    del elements[absent]
    with pytest.raises(TagMissingError, match=f"lacks its tag {absent}"):
        TrustRecord.parse(record_of(*elements.values()))


@pytest.mark.parametrize("again", [tlv(4, b"\0\x03"), number(1, 5, 2)], ids=["role", "record length"])
def test_an_element_given_twice_is_refused(again: bytes) -> None:
    with pytest.raises(TagRepeatedError):
        TrustRecord.parse(record_of(tlv(4, b"\0\0"), again))


@pytest.mark.parametrize("element", [tlv(4, b"\0"), tlv(10, bytes(16)), tlv(12, b"")])
def test_an_element_of_the_wrong_size_is_refused(element: bytes) -> None:
    role = b"" if element[0] == 4 else tlv(4, b"\0\0")
    with pytest.raises(ValueLengthError):
        TrustRecord.parse(record_of(role, element))


def test_a_name_with_a_nul_inside_is_refused() -> None:
    with pytest.raises(TextMalformedError):
        TrustRecord.parse(record_of(tlv(4, b"\0\0"), tlv(2, b"pub\0evil\0")))


def test_bytes_after_a_single_record_are_refused() -> None:
    with pytest.raises(RecordLengthError, match="says that it has 33 bytes and has 34"):
        TrustRecord.parse(TrustRecord.emptied("10.48.47.153", 2, "10.48.47.153").encode() + b"\0")


def test_a_file_above_one_mebibyte_is_refused_unread() -> None:
    with pytest.raises(TrustListTooLongError):
        TrustList.parse(bytes(MAX_SIZE + 1))


# --- the signer ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> tuple[TrustList, bytes]:
    signer = make_certificate("CN=ITLRECOVERY_pub;O=Example")
    records = [
        TrustRecord.of_certificate(signer, Role.SAST, "pub", "192.0.2.1"),
        TrustRecord.of_certificate(make_certificate("CN=pub"), Role.TFTP, "pub", "192.0.2.1"),
        TrustRecord.of_certificate(make_certificate("CN=sub"), Role.TVS, "sub", "192.0.2.2"),
        TrustRecord.emptied("old", Role.TVS, "192.0.2.3"),
    ]
    data = build_trust_list("ITL", records, signer, rsa_key, digest=Digest.SHA512, timestamp=NOW, signer_version=(1, 0))
    return TrustList.parse(data), data


def test_a_built_itl_says_who_signed_it_when_and_for_what(built: tuple[TrustList, bytes]) -> None:
    header = built[0].header
    assert (header.filename, header.version, header.signer_version) == ("ITLFile.tlv", (1, 2), (1, 0))
    assert (header.digest, header.timestamp, header.subject) == (Digest.SHA512, NOW, "CN=ITLRECOVERY_pub;O=Example")


def test_a_built_list_is_its_own_canonical_encoding(built: tuple[TrustList, bytes]) -> None:
    assert built[0].encode() == built[1]


def signer_record(trust_list: TrustList) -> TrustRecord | None:
    header = trust_list.header
    return trust_list.find(header.subject, header.issuer, header.serial, Role.SAST)


def test_the_signer_record_verifies_the_list_that_carries_it(built: tuple[TrustList, bytes]) -> None:
    trust_list, data = built
    record = signer_record(trust_list)
    assert record is not None
    assert verify(data, record.parsed)


def test_records_are_found_by_role_emptied_ones_too(built: tuple[TrustList, bytes]) -> None:
    assert [record.dns_name for record in built[0].records_with_role(Role.TVS, Role.TFTP)] == ["pub", "sub", "old"]


def test_a_record_is_found_in_the_roles_that_are_asked_for_and_in_any_when_none_is(
    built: tuple[TrustList, bytes],
) -> None:
    trust_list, header = built[0], built[0].header
    signer = (header.subject, header.issuer, header.serial)
    assert trust_list.find(*signer, Role.TVS, Role.SAST) == trust_list.find(*signer) == trust_list.records[0]
    assert trust_list.find(*signer, Role.TFTP, Role.TVS) is None


def test_the_same_names_with_another_serial_are_another_signer(built: tuple[TrustList, bytes]) -> None:
    trust_list = built[0]
    renewed = replace(trust_list.records[0], serial=b"\x01")
    assert signer_record(replace(trust_list, records=(renewed,))) is None


def test_the_signer_is_found_when_names_are_spelled_by_another_writer(built: tuple[TrustList, bytes]) -> None:
    trust_list = built[0]
    spelled = replace(
        trust_list.header, subject="O=Example,CN=ITLRECOVERY_pub", serial=b"\0" + trust_list.header.serial
    )
    assert signer_record(replace(trust_list, header=spelled)) == trust_list.records[0]


def test_a_long_name_of_the_signer_is_taken_apart_once_for_all_records(built: tuple[TrustList, bytes]) -> None:
    name = "CN=a" + ",b" * 1000
    other = TrustRecord(role=Role.SAST, issuer="CN=other", serial=b"\x01")
    crowded = replace(built[0], header=replace(built[0].header, issuer=name, serial=b"\x01"), records=(other,) * 500)
    before = trust_list._comparable.cache_info().misses
    assert signer_record(crowded) is None
    assert trust_list._comparable.cache_info().misses - before <= 2


def test_an_emptied_record_is_nobodys(built: tuple[TrustList, bytes]) -> None:
    assert not TrustRecord.emptied("pub", Role.SAST, "192.0.2.1").is_named("", "", b"")


def test_a_certificate_is_found_in_any_role_or_in_given_ones(built: tuple[TrustList, bytes]) -> None:
    trust_list = built[0]
    record = trust_list.records[1]
    assert trust_list.find(record.subject, record.issuer, record.serial) is record
    assert trust_list.find(record.subject, record.issuer, record.serial, Role.SAST) is None


def test_a_key_of_another_certificate_cannot_sign(
    make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    with pytest.raises(SignerKeyError, match="CN=pub"):
        build_trust_list("CTL", [], make_certificate("CN=pub"), other_rsa_key, timestamp=NOW)


def test_a_list_that_would_be_too_long_is_not_built(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    record = TrustRecord(Role.TVS, subject="CN=a", issuer="CN=a", serial=b"\1", certificate=bytes(60000))
    with pytest.raises(TrustListTooLongError, match="the CTL would have"):
        build_trust_list("CTL", [record] * 18, make_certificate("CN=pub"), rsa_key, timestamp=NOW)


def test_a_ctl_built_here_is_called_so_and_defaults_to_sha1(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    header = TrustList.parse(build_trust_list("CTL", [], make_certificate(), rsa_key, timestamp=NOW)).header
    assert (header.filename, header.digest, header.signer_version) == ("CTLFile.tlv", Digest.SHA1, None)
