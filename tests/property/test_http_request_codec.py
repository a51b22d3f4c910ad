"""HTTP heads: what is written is read back in any pieces, and arbitrary bytes raise nothing but the codec's error."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.http_request import LARGEST_HEAD, HttpMalformedError, ReplyHead, Request, RequestParser, plain_get

paths = st.text(max_size=60).filter(lambda text: not _has_surrogates(text)).map(lambda text: f"/{text}")
hosts = st.text("abcdefghijklmnopqrstuvwxyz0123456789.:-[]", max_size=40)
requests = st.builds(
    Request,
    st.sampled_from(["GET", "HEAD"]),
    paths,
    hosts,
    st.sampled_from(["HTTP/1.0", "HTTP/1.1"]),
    close=st.booleans(),
)
replies = st.builds(ReplyHead, st.integers(100, 999), st.none() | st.integers(0, 10**18), close=st.booleans())


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


@given(requests)
def test_a_request_survives_the_wire(request: Request) -> None:
    assert Request.parse(request.encode()) == request


@given(
    requests | st.builds(Request, st.just("GET"), st.from_regex(r"/[!-~]*", fullmatch=True), hosts, close=st.booleans())
)
def test_the_quick_look_at_a_request_never_contradicts_the_thorough_one(request: Request) -> None:
    asked = plain_get(request.encode())
    assert asked is None or asked == (request.path, not request.keep_alive)
    assert asked is None or request.method == "GET"


@given(st.binary(max_size=40).map(lambda data: b"GET /f" + data + b"\r\nHost:h\r\n\r\n"))
def test_the_quick_look_reads_nothing_that_is_refused(data: bytes) -> None:
    asked = plain_get(data)
    assert asked is None or Request.parse(data).path == asked[0]


@given(replies)
def test_a_reply_head_survives_the_wire(head: ReplyHead) -> None:
    assert ReplyHead.parse(head.encode()) == head


@given(st.lists(requests, max_size=4), st.data())
def test_requests_come_out_the_same_however_they_are_cut(wanted: list[Request], data: st.DataObject) -> None:
    stream = b"".join(request.encode() for request in wanted)
    parser, found = RequestParser(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        parser.feed(stream[:size])
        stream = stream[size:]
        found += list(iter(parser.next_request, None))
    assert found == wanted


@given(
    st.binary(max_size=300)
    | st.builds(lambda line: b"GET " + line + b" HTTP/1.1\r\n\r\n", st.binary())
    | st.builds(lambda headers: b"GET / HTTP/1.1\r\n" + headers + b"\r\n\r\n", st.binary())
    | st.builds(lambda headers: b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\n", st.binary())
)
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    drain(data)


@given(requests, st.data())
def test_a_damaged_request_is_read_or_refused(request: Request, data: st.DataObject) -> None:
    wire = bytearray(request.encode())
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    drain(bytes(wire))
    drain(bytes(wire[:at]))


@given(st.binary(min_size=1, max_size=50))
def test_no_more_than_8_kib_are_ever_held(piece: bytes) -> None:
    parser = RequestParser()
    try:
        while parser.waiting <= LARGEST_HEAD + len(piece):
            parser.feed(piece * (1 + 500 // len(piece)))
            before = parser.waiting
            if parser.next_request() is None and parser.waiting < before:
                return  # blank lines before a request are dropped as they come
    except HttpMalformedError:
        return
    raise AssertionError("an endless head was held")


def drain(data: bytes) -> None:
    parser = RequestParser()
    parser.feed(data)
    with suppress(HttpMalformedError):
        list(iter(parser.next_request, None))
    for read in (Request.parse, ReplyHead.parse):
        with suppress(HttpMalformedError):
            read(data)
