"""Where the content of a DER element begins and ends."""

import pytest

from certferry.wire.der import extent_of


@pytest.mark.parametrize(
    ("data", "at", "extent"),
    [
        (b"\x30\x03abc", 0, (2, 5)),
        (b"..\x30\x03abc", 2, (4, 7)),
        (b"\x30\x81\x80" + bytes(128), 0, (3, 131)),
        (b"\x30\x82\x01\x00" + bytes(256), 0, (4, 260)),
        (b"\x05\x00", 0, (2, 2)),
        (b"\x30\x05abc", 0, (2, 7)),
    ],
)
def test_content_stands_behind_the_bytes_of_the_length(data: bytes, at: int, extent: tuple[int, int]) -> None:
    assert extent_of(data, at) == extent


@pytest.mark.parametrize("data", [b"", b"\x30"])
def test_without_a_tag_and_a_length_there_is_no_element(data: bytes) -> None:
    assert extent_of(data, 0) is None
