"""A cursor reads what is there, never more, and says at which offset something was missing."""

import pytest

from certferry.wire.tlv import (
    Cursor,
    Element,
    TextMalformedError,
    TruncatedError,
    ValueLengthError,
    ValueTooLongError,
    number,
    span,
    spans,
    text,
    tlv,
)

VECTORS = [
    (tlv(1, b"\x01\x02"), "0100020102"),
    (tlv(0x0C, b""), "0c0000"),
    (text(14, "CTLFile.tlv"), "0e000c43544c46696c652e746c7600"),
    (text(2, ""), "02000100"),
    (text(4, "CN=Zürich"), "04000b434e3d5ac3bc7269636800"),
    (number(2, 336, 2), "0200020150"),
    (number(15, 0x5A0B1C2D, 4), "0f00045a0b1c2d"),
]


@pytest.mark.parametrize(("written", "expected"), VECTORS)
def test_elements_are_written_with_a_two_byte_big_endian_length(written: bytes, expected: str) -> None:
    assert written.hex() == expected


@pytest.mark.parametrize("written", [written for written, _ in VECTORS])
def test_a_written_element_is_read_back_whole(written: bytes) -> None:
    cursor = Cursor(written)
    element = cursor.tlv()
    assert tlv(element.tag, element.value) == written
    assert cursor.at_end


def test_numbers_are_big_endian() -> None:
    cursor = Cursor(bytes.fromhex("01 0203"))
    assert (cursor.u8(), cursor.u16()) == (0x01, 0x0203)


def test_the_offset_follows_what_was_taken() -> None:
    cursor = Cursor(b"abcdef", base=100)
    assert cursor.take(2) == b"ab"
    assert (cursor.offset, cursor.remaining) == (102, 4)


def test_the_rest_is_everything_left_and_then_nothing() -> None:
    cursor = Cursor(b"abc")
    cursor.u8()
    assert (cursor.rest(), cursor.rest(), cursor.at_end) == (b"bc", b"", True)


def test_taking_more_than_is_left_names_offset_and_need() -> None:
    cursor = Cursor(b"abc")
    cursor.take(1)
    with pytest.raises(TruncatedError, match="5 bytes are needed at offset 1 but 2 are left"):
        cursor.take(5)


def test_a_failed_take_moves_nothing() -> None:
    cursor = Cursor(b"abc")
    with pytest.raises(TruncatedError):
        cursor.take(4)
    assert cursor.rest() == b"abc"


def test_a_negative_take_is_refused() -> None:
    with pytest.raises(TruncatedError):
        Cursor(b"abc").take(-1)


@pytest.mark.parametrize("cut", range(5))
def test_a_tlv_cut_anywhere_is_truncated(cut: int) -> None:
    with pytest.raises(TruncatedError):
        Cursor(tlv(1, b"\x01\x02")[:cut]).tlv()


def test_a_sub_cursor_cannot_read_past_its_own_end() -> None:
    inner = Cursor(b"abcdef").sub(3)
    inner.take(2)
    with pytest.raises(TruncatedError, match="offset 2 but 1 are left"):
        inner.take(2)


def test_a_sub_cursor_cannot_be_longer_than_its_parent() -> None:
    with pytest.raises(TruncatedError):
        Cursor(b"abc").sub(4)


def test_offsets_inside_nested_elements_are_absolute() -> None:
    outer = Cursor(b"\xff" + tlv(3, tlv(7, b"xy")))
    outer.u8()
    container = outer.tlv()
    assert container.offset == 4
    assert container.cursor().tlv() == Element(7, b"xy", 7)


def test_an_inner_length_beyond_its_container_is_truncated() -> None:
    data = bytes.fromhex("03 0004 07 0005 61") + b"more than enough bytes after the container"
    with pytest.raises(TruncatedError, match="offset 6 but 1 are left"):
        Cursor(data).tlv().cursor().tlv()


@pytest.mark.parametrize("value", [b"pub\0", b"pub"])
def test_text_is_read_with_or_without_its_final_nul(value: bytes) -> None:
    assert Element(2, value, 0).text == "pub"


@pytest.mark.parametrize("value", [b"pu\0b\0", b"pub\0\0", b"\xff\xfe\0"])
def test_text_with_an_inner_nul_or_not_utf8_is_refused(value: bytes) -> None:
    with pytest.raises(TextMalformedError, match="tag 2 at offset 9"):
        _ = Element(2, value, 9).text


def test_text_with_a_nul_is_not_written() -> None:
    with pytest.raises(TextMalformedError):
        text(2, "pu\0b")


def test_a_value_of_the_wanted_size_is_passed_on() -> None:
    element = Element(4, b"\0\x02", 3)
    assert element.sized(2).number == 2


def test_a_value_of_another_size_is_refused() -> None:
    with pytest.raises(ValueLengthError, match="tag 4 at offset 3 has 3 bytes instead of 1 or 2"):
        Element(4, b"abc", 3).sized(1, 2)


def test_the_longest_value_fits_and_one_byte_more_is_refused() -> None:
    assert len(tlv(9, bytes(65535))) == 65538
    with pytest.raises(ValueTooLongError, match="65536 bytes"):
        tlv(9, bytes(65536))


def test_a_number_too_large_for_its_size_is_not_written() -> None:
    with pytest.raises(ValueTooLongError, match="65536 does not fit the 2 bytes of tag 1"):
        number(1, 65536, 2)


def test_spans_walk_flat_elements_without_copying_them() -> None:
    data = b"?" + tlv(1, b"ab") + tlv(2, b"")
    assert list(spans(data, 1, len(data))) == [(1, 4, 6), (2, 9, 9)]


def test_a_span_that_ends_beyond_the_bound_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="tag 1 announces 2 bytes at offset 3 but 1 are left"):
        span(tlv(1, b"ab"), 0, 4)


def test_a_span_without_room_for_its_head_is_truncated() -> None:
    with pytest.raises(TruncatedError, match="at offset 0 but 2 bytes are left"):
        span(tlv(1, b"ab"), 0, 2)
