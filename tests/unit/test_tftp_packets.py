"""TFTP packets byte for byte: each value and its bytes, both ways, and every refusal with its offset."""

import pytest

from certferry.errors import MalformedError
from certferry.wire import tftp
from certferry.wire.tftp import (
    Ack,
    Data,
    ErrorPacket,
    OptionAck,
    Options,
    Packet,
    ReadRequest,
    TftpMalformedError,
    TftpOptionError,
    WriteRequest,
)

BOTH_WAYS: list[tuple[Packet, bytes]] = [
    (ReadRequest("CTLFile.tlv"), b"\0\1CTLFile.tlv\0octet\0"),
    (ReadRequest("a.txt", "netascii"), b"\0\1a.txt\0netascii\0"),
    (ReadRequest("caf\xe9"), b"\0\1caf\xe9\0octet\0"),
    (ReadRequest("f", "octet", Options(1428, 3, 0)), b"\0\1f\0octet\0blksize\x001428\0timeout\x003\0tsize\x000\0"),
    (WriteRequest("f"), b"\0\2f\0octet\0"),
    (Data(1, b"abc"), b"\0\3\0\1abc"),
    (Data(65535, b""), b"\0\3\xff\xff"),
    (Ack(0), b"\0\4\0\0"),
    (Ack(513), b"\0\4\2\1"),
    (ErrorPacket(1, "File not found"), b"\0\5\0\1File not found\0"),
    (ErrorPacket(99), b"\0\5\0\x63\0"),
    (OptionAck(Options(tsize=4947)), b"\0\6tsize\x004947\0"),
    (OptionAck(Options()), b"\0\6"),
]


@pytest.mark.parametrize(("packet", "data"), BOTH_WAYS)
def test_a_packet_is_its_bytes(packet: Packet, data: bytes) -> None:
    assert packet.encode() == data


@pytest.mark.parametrize(("packet", "data"), BOTH_WAYS)
def test_the_bytes_are_the_packet(packet: Packet, data: bytes) -> None:
    assert tftp.parse(data) == packet


def test_a_phones_request_is_all_a_7962_sends() -> None:
    assert ReadRequest("SEP0000000000AA.cnf.xml.sgn").encode() == b"\0\1SEP0000000000AA.cnf.xml.sgn\0octet\0"


def test_mode_and_option_names_are_read_in_any_letter_case() -> None:
    assert tftp.parse(b"\0\1f\0OcTeT\0BlkSize\x001024\0") == ReadRequest("f", "octet", Options(blksize=1024))


def test_unknown_options_are_dropped() -> None:
    data = b"\0\1f\0octet\0windowsize\x0016\0tsize\x000\0rollover\x000\0"
    assert tftp.parse(data) == ReadRequest("f", "octet", Options(tsize=0))


def test_a_request_padded_with_nuls_has_no_options() -> None:
    assert tftp.parse(b"\0\1f\0octet\0\0\0\0") == ReadRequest("f")


def test_options_are_true_when_one_is_set_even_to_zero() -> None:
    assert not Options()
    assert Options(tsize=0)


@pytest.mark.parametrize("blksize", [8, 65464])
@pytest.mark.parametrize("timeout", [1, 255])
def test_the_ends_of_the_ranges_are_inside(blksize: int, timeout: int) -> None:
    request = ReadRequest("f", "octet", Options(blksize, timeout))
    assert tftp.parse(request.encode()) == request


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "inside the opcode at offset 0"),
        (b"\0", "inside the opcode at offset 0"),
        (b"\0\0", "opcode 0 at offset 0"),
        (b"\0\7x", "opcode 7 at offset 0"),
        (b"\1\0f\0octet\0", "opcode 256 at offset 0"),
        (b"\0\1", "NUL at offset 2"),
        (b"\0\1f\0octet", "NUL at offset 9"),
        (b"\0\1f\0", "no mode after the file name at offset 4"),
        (b"\0\1\0octet\0", "no file name at offset 2"),
        (b"\0\1f\0mail\0", "mode 'mail' at offset 4"),
        (b"\0\1f\0octet\0tsize\0", "option at offset 10 has no value"),
        (b"\0\1" + b"f" * 510 + b"\0octet\0", "519 bytes runs past offset 512"),
        (b"\0\3\0", "inside the number at offset 2"),
        (b"\0\3\0\1" + bytes(65465), "past offset 65468"),
        (b"\0\4\1", "inside the number at offset 2"),
        (b"\0\4\0\1x", "1 bytes after the acknowledgment at offset 4"),
        (b"\0\5\0\1", "NUL at offset 4"),
        (b"\0\5\0\1text", "NUL at offset 8"),
        (b"\0\5\0\1one\0two\0", "the second at offset 8"),
        (b"\0\6tsize\x005", "NUL at offset 9"),
    ],
)
def test_what_is_no_packet_is_refused_at_its_offset(data: bytes, sentence: str) -> None:
    with pytest.raises(TftpMalformedError, match=sentence) as refused:
        tftp.parse(data)
    assert refused.value.code == "wire.tftp"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (b"blksize\x007\0", "blksize 7 at offset 18 is outside 8..65464"),
        (b"blksize\x0065465\0", "blksize 65465 at offset 18"),
        (b"timeout\x000\0", "timeout 0 at offset 18 is outside 1..255"),
        (b"timeout\x00256\0", "timeout 256"),
        (b"tsize\x00-1\0", "tsize '-1' at offset 16 is no number"),
        (b"tsize\0\0", "tsize '' at offset 16 is no number"),
        (b"tsize\x00\xb2\0", "is no number"),
        (b"tsize\x0099999999999999999999\0", "is no number"),
        (b"tsize\x000\0TSIZE\x000\0", "tsize stands twice, again at offset 18"),
    ],
)
def test_an_option_that_cannot_be_so_is_refused_by_its_name(option: bytes, sentence: str) -> None:
    with pytest.raises(TftpOptionError, match=sentence) as refused:
        tftp.parse(b"\0\1f\0octet\0" + option)
    assert isinstance(refused.value, MalformedError)
    assert refused.value.code == "wire.tftp-option"


@pytest.mark.parametrize(
    "packet",
    [
        ReadRequest("f\0g"),
        ReadRequest("\u96fb\u8a71"),
        ReadRequest("f" * 512),
        ReadRequest("f", "octet", Options(blksize=4)),
        ErrorPacket(0, "a\0b"),
    ],
)
def test_a_packet_that_cannot_be_said_is_not_written(packet: Packet) -> None:
    with pytest.raises(TftpMalformedError):
        packet.encode()
