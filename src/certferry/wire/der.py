"""Where an element of DER stands: a tag of one byte, a length of one or more, the content (X.690, 8.1)."""

LONG_FORM = 0x80
"""Set in the first byte of a length whose other bits say how many bytes of length follow."""
_LENGTH_BITS = 0x7F


def extent_of(data: bytes, at: int) -> tuple[int, int] | None:
    """Return where the content of the element at ``at`` begins and ends, which may be beyond ``data``.

    None where no tag and length stand.
    """
    head = data[at : at + 2]
    if len(head) < 2:  # noqa: PLR2004 -- a tag and a length
        return None
    begin, length = at + 2, head[1]
    if length & LONG_FORM:
        size = length & _LENGTH_BITS
        length = int.from_bytes(data[begin : begin + size])
        begin += size
    return begin, begin + length
