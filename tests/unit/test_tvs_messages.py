"""TVS messages: the published ones byte for byte, and what is tolerated or refused."""

from struct import pack

import pytest

from certferry.wire.tvs import (
    HEADER_SIZE,
    MAX_MESSAGE,
    CertificateQueryReply,
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Message,
    Status,
    TvsMalformedError,
    frame_length,
    parse_message,
)

DEVICE = "CP-8861-SEPB000B4BA0AEE"
SUBJECT = "CN=ucm11pub.stormin.local;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU"
ISSUER = "CN=stormin-WIN2012-CA"
SERIAL = bytes.fromhex("24000000179479B8F124AC3F3B000000000017")

BOTH_WAYS: list[tuple[Message, str]] = [
    (
        CertificateVerificationRequest(1002, "CP-7821-SEP1", b"\x30\x01\x02"),
        "570101 00 000003ea 0016 01000d01 43502d373832312d53455031 020003300102",
    ),
    (
        CertificateVerificationReply(1002, Status.VALID, (0, 3), 86400),
        "570102 00 000003ea 0010 07000100 0800020003 09000400015180",
    ),
    (CertificateVerificationReply(1, Status.VALID, (), 60), "570102 00 00000001 000e 07000100 080000 0900040000003c"),
    (CertificateVerificationReply(1, Status.INVALID), "570102 00 00000001 0004 07000101"),
    (
        CertificateQueryRequest(1001, "", "CN=a", "CN=b", b"\x24\x17"),
        "570103 00 000003e9 0019 01000101 030005434e3d6100 040005434e3d6200 0500022417",
    ),
    (
        CertificateQueryReply(1001, Status.VALID, b"\x30\x00", (0, 3), 86400),
        "570104 00 000003e9 0015 07000100 0200023000 0800020003 09000400015180",
    ),
    (CertificateQueryReply(1001, Status.INVALID), "570104 00 000003e9 0004 07000101"),
]


def element(tag: int, value: bytes) -> bytes:
    return pack(">BH", tag, len(value)) + value


def message(command: int, *elements: bytes) -> bytes:
    body = b"".join(elements)
    return pack(">BBBBIH", 0x57, 1, command, 0, 1001, len(body)) + body


@pytest.mark.parametrize(("value", "text"), BOTH_WAYS, ids=lambda case: type(case).__name__)
def test_each_message_has_these_bytes_both_ways(value: Message, text: str) -> None:
    assert value.encode() == bytes.fromhex(text)
    assert parse_message(bytes.fromhex(text)) == value


def test_the_published_query_of_an_8861_has_153_bytes_and_these_first_ones() -> None:
    request = CertificateQueryRequest(1001, DEVICE, SUBJECT, ISSUER, SERIAL).encode()
    assert len(request) == 153
    assert request.startswith(
        bytes.fromhex("57010300000003e9008f 01001801") + DEVICE.encode() + bytes.fromhex("030042") + b"CN=ucm11pu"
    )
    assert parse_message(request) == CertificateQueryRequest(1001, DEVICE, SUBJECT, ISSUER, SERIAL)


def test_the_published_answer_to_it_has_1480_bytes_and_a_reserved_byte_out_of_memory() -> None:
    certificate = bytes.fromhex("308205a7") + bytes(1447)
    published = bytes.fromhex("570104f7000003e905be 07000100 0205ab") + certificate
    published += bytes.fromhex("0800020003 09000400015180")
    assert len(published) == 1480
    parsed = parse_message(published)
    assert parsed == CertificateQueryReply(1001, Status.VALID, certificate, (0, 3), 86400)
    assert parsed.encode() == published.replace(b"\x57\x01\x04\xf7", b"\x57\x01\x04\x00", 1)


def test_the_published_verification_of_a_7900_leaves_920_bytes_for_the_certificate() -> None:
    request = CertificateVerificationRequest(1002, DEVICE, bytes(920)).encode()
    assert len(request) == 960
    assert request.startswith(bytes.fromhex("570101 00 000003ea"))


def test_issuer_and_serial_may_change_places() -> None:
    swapped = message(
        3,
        element(1, b"\x01" + DEVICE.encode()),
        element(3, SUBJECT.encode() + b"\0"),
        element(4, SERIAL),
        element(5, ISSUER.encode() + b"\0"),
    )
    assert parse_message(swapped) == CertificateQueryRequest(1001, DEVICE, SUBJECT, ISSUER, SERIAL)


def test_a_serial_that_looks_like_a_name_stays_the_serial_when_it_stands_in_its_place() -> None:
    request = CertificateQueryRequest(1, DEVICE, SUBJECT, ISSUER, b"\x12=\x34\x00")
    assert parse_message(request.encode()) == request


def test_names_without_their_nul_are_read_in_the_usual_places() -> None:
    bare = message(3, element(3, b"CN=a"), element(4, b"CN=b"), element(5, b"\x17"))
    assert parse_message(bare) == CertificateQueryRequest(1001, "", "CN=a", "CN=b", b"\x17")


def test_elements_come_in_any_order_and_unknown_ones_are_skipped() -> None:
    shuffled = message(
        4, element(9, b"\0\0\0\x05"), element(77, b"new"), element(2, b"0"), element(8, b"\x15"), element(7, b"\0")
    )
    assert parse_message(shuffled) == CertificateQueryReply(1001, Status.VALID, b"0", (21,), 5)


def test_every_status_but_zero_says_no() -> None:
    assert parse_message(message(2, element(7, b"\x09"))) == CertificateVerificationReply(1001, Status.INVALID)


def test_a_name_in_no_known_encoding_comes_back_as_it_was() -> None:
    odd = message(3, element(1, b"\x01"), element(3, b"CN=\xff\0"), element(4, b"CN=\x80\0"), element(5, b"\1"))
    assert parse_message(odd).encode() == odd


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes are too few"),
        (b"\x57\x01\x01", "3 bytes are too few"),
        (b"GET / HTTP/1.1\r\n\r\n", "47 45 at offset 0"),
        (b"\x57\x02" + message(3)[2:], "57 02 at offset 0"),
        (message(0), "command 0 at offset 2"),
        (message(5), "command 5 at offset 2"),
        (message(1)[:-1] + b"\x05", "announces 15 bytes, 10 are here"),
        (message(1, element(2, b"0")) + b"x", "15 are here"),
        (message(1, b"\x02\x00"), "offset 11"),
        (message(1, b"\x02\x00\x05abcd"), "offset 13"),
        (message(1, element(2, b"a"), element(2, b"b")), "second time at offset 17"),
        (message(1), "element 2 is missing"),
        (message(2), "element 7 is missing"),
        (message(3, element(4, b"CN=b\0")), "element 5 is missing"),
        (message(3, element(5, b"\x17")), "element 4 is missing"),
        (message(4, element(7, b"\0"), element(9, b"\0")), "a TTL has 4"),
    ],
)
def test_what_is_no_message_is_refused_with_the_offset(data: bytes, reason: str) -> None:
    with pytest.raises(TvsMalformedError, match=reason):
        parse_message(data)


@pytest.mark.parametrize(
    "value",
    [
        CertificateVerificationRequest(-1, "", b""),
        CertificateVerificationRequest(1 << 32, "", b""),
        CertificateVerificationRequest(1, "", bytes(65536)),
        CertificateVerificationRequest(1, "", bytes(65530)),
        CertificateVerificationRequest(1, "\ud800", b""),
        CertificateVerificationReply(1, Status.VALID, (256,), 1),
        CertificateVerificationReply(1, Status.VALID, (), 1 << 32),
        CertificateQueryReply(1, Status.VALID, b"", (-1,), 1),
    ],
)
def test_a_value_that_does_not_fit_is_refused_when_written(value: Message) -> None:
    with pytest.raises(TvsMalformedError):
        value.encode()


def test_the_length_of_a_message_is_known_from_its_first_ten_bytes() -> None:
    whole = CertificateQueryRequest(1001, DEVICE, SUBJECT, ISSUER, SERIAL).encode()
    assert frame_length(whole[:HEADER_SIZE]) == len(whole)


def test_a_message_above_the_limit_is_refused_from_its_header_alone() -> None:
    header = pack(">BBBBIH", 0x57, 1, 1, 0, 1, MAX_MESSAGE)
    with pytest.raises(TvsMalformedError, match="above the limit of 16384"):
        frame_length(header)
    assert frame_length(header, limit=65535) == MAX_MESSAGE + HEADER_SIZE
