"""HTTP heads byte for byte: the phone's odd request, curl's, the cluster's reply, and every refusal."""

import pytest

from certferry.wire.http_request import (
    LARGEST_HEAD,
    HttpHeadTooLargeError,
    HttpMalformedError,
    HttpMethodError,
    HttpTargetTooLongError,
    ReplyHead,
    Request,
    RequestParser,
    plain_get,
    response,
)

PHONE = b"GET /CTLSEP2834A2823B58.tlv HTTP/1.1\r\nHost:192.168.0.10:6970\r\n\r\n"
CURL = b"GET /ITLFile.tlv HTTP/1.1\r\nHost: 192.0.2.1:6970\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"


def only(data: bytes) -> Request:
    parser = RequestParser()
    parser.feed(data)
    request = parser.next_request()
    assert request is not None
    assert parser.next_request() is None
    return request


# ---- requests


def test_a_phones_request_has_no_blank_after_host_and_no_other_header() -> None:
    request = Request("GET", "/CTLSEP2834A2823B58.tlv", "192.0.2.1:6970")
    assert request.encode() == b"GET /CTLSEP2834A2823B58.tlv HTTP/1.1\r\nHost:192.0.2.1:6970\r\n\r\n"
    assert Request.parse(request.encode()) == request


def test_a_phones_request_with_an_address_of_12_characters_is_64_bytes_as_in_the_trace() -> None:
    assert len("192.168.0.10") == 12
    assert len(Request("GET", "/CTLSEP2834A2823B58.tlv", "192.168.0.10:6970").encode()) == 64


def test_curls_request_is_understood() -> None:
    assert only(CURL) == Request("GET", "/ITLFile.tlv", "192.0.2.1:6970")


def test_a_request_without_any_header_is_understood() -> None:
    assert only(b"HEAD /f HTTP/1.0\r\n\r\n") == Request("HEAD", "/f", "", "HTTP/1.0")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"/a%20b", "/a b"),
        (b"/%53EP.cnf.xml", "/SEP.cnf.xml"),
        (b"/%e9", "/\udce9"),
        (b"/%C3%A9", "/\xe9"),
        (b"/%00", "/\0"),
        (b"/%zz%", "/%zz%"),
        (b"/f?version=2", "/f"),
        (b"/../../etc/passwd", "/../../etc/passwd"),
        (b"http://192.0.2.1:6970/f", "/f"),
        (b"HTTP://192.0.2.1", "/"),
    ],
)
def test_the_path_is_decoded_and_its_query_dropped(target: bytes, path: str) -> None:
    assert only(b"GET " + target + b" HTTP/1.1\r\n\r\n").path == path


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nCONNECTION:\tfoo, Close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_http_1_1_stays_open_unless_told_to_close_and_1_0_closes(head: bytes, stays: bool) -> None:
    assert only(head).keep_alive is stays


def test_a_request_is_put_together_from_any_pieces() -> None:
    parser = RequestParser()
    for byte in PHONE[:-1]:
        parser.feed(bytes([byte]))
        assert parser.next_request() is None
    assert parser.waiting == len(PHONE) - 1
    parser.feed(PHONE[-1:])
    assert parser.next_request() is not None
    assert parser.waiting == 0


def test_requests_in_one_piece_come_out_one_by_one() -> None:
    parser = RequestParser()
    parser.feed(PHONE + b"\r\n" + CURL)
    paths = [request.path for request in iter(parser.next_request, None)]
    assert paths == ["/CTLSEP2834A2823B58.tlv", "/ITLFile.tlv"]


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"GET /f\r\n\r\n", "line at offset 0"),
        (b"GET  /f HTTP/1.1\r\n\r\n", "line at offset 0"),
        (b" /f HTTP/1.1\r\n\r\n", "line at offset 0"),
        (b"G\xc9T /f HTTP/1.1\r\n\r\n", "line at offset 0"),
        (b"GET /f HTTP/2.0\r\n\r\n", "version b'HTTP/2.0' at offset 7"),
        (b"GET f HTTP/1.1\r\n\r\n", "target at offset 4 does not begin with a slash"),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", "target at offset 4 holds"),
        (b"GET /\xe9 HTTP/1.1\r\n\r\n", "target at offset 4 holds"),
        (b"GET / HTTP/1.1\r\nnothing\r\n\r\n", "line at offset 16 is not a header"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "line at offset 16 is not a header"),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", "line at offset 22 is not a header"),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", "header a at offset 16 holds a control character"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "header host at offset 25 contradicts"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "body follows the request at offset 37"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "body follows"),
    ],
)
def test_what_is_no_request_is_refused_at_its_offset_with_400(head: bytes, sentence: str) -> None:
    with pytest.raises(HttpMalformedError, match=sentence) as refused:
        only(head)
    assert refused.value.status == 400


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"get", b"DELETE", b"OPTIONS", b"M-SEARCH"])
def test_other_methods_are_refused_with_405(method: bytes) -> None:
    with pytest.raises(HttpMethodError) as refused:
        only(method + b" / HTTP/1.1\r\n\r\n")
    assert refused.value.status == 405


def test_a_request_line_without_end_is_refused_with_414() -> None:
    parser = RequestParser()
    parser.feed(b"GET /" + b"a" * (LARGEST_HEAD - 6))
    assert parser.next_request() is None
    parser.feed(b"a")
    with pytest.raises(HttpTargetTooLongError) as refused:
        parser.next_request()
    assert refused.value.status == 414


def test_headers_without_end_are_refused_with_431() -> None:
    parser = RequestParser()
    parser.feed(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1400 + b"\r\n")
    with pytest.raises(HttpHeadTooLargeError) as refused:
        parser.next_request()
    assert refused.value.status == 431


def test_the_largest_head_is_still_read() -> None:
    head = b"GET / HTTP/1.1\r\nA: "
    head += b"b" * (LARGEST_HEAD - len(head) - 4) + b"\r\n\r\n"
    assert only(head).path == "/"


@pytest.mark.parametrize("host", ["a\r\nX: y", "a\0", " a", "\u96fb"])
def test_a_host_that_would_break_the_head_is_not_written(host: str) -> None:
    with pytest.raises(HttpMalformedError):
        Request("GET", "/", host).encode()


def test_a_host_beyond_ascii_is_written_as_it_was_read() -> None:
    head = b"GET / HTTP/1.1\r\nHost:caf\xe9.example\r\n\r\n"
    assert Request.parse(head).encode() == head


def test_a_path_cannot_break_the_request_line() -> None:
    request = Request("GET", "/a b\r\nHost: evil?x#y%", "h")
    assert request.encode() == b"GET /a%20b%0D%0AHost:%20evil%3Fx%23y%25 HTTP/1.1\r\nHost:h\r\n\r\n"
    assert only(request.encode()) == request


# ---- replies


def test_a_reply_is_spelled_as_the_cluster_spells_it() -> None:
    assert response(200, b"body") == (
        b"HTTP/1.1 200 OK\r\nContent-length: 4\r\nCache-Control: no-store\r\nContent-type: */*\r\n\r\nbody"
    )


@pytest.mark.parametrize(
    ("status", "first"),
    [
        (400, b"HTTP/1.1 400 Bad Request"),
        (404, b"HTTP/1.1 404 Not Found"),
        (405, b"HTTP/1.1 405 Method Not Allowed"),
        (414, b"HTTP/1.1 414 URI Too Long"),
        (431, b"HTTP/1.1 431 Request Header Fields Too Large"),
        (503, b"HTTP/1.1 503 Service Unavailable"),
    ],
)
def test_each_refusal_has_its_status_line_and_an_empty_body(status: int, first: bytes) -> None:
    reply = response(status, close=True)
    assert reply.startswith(first + b"\r\nContent-length: 0\r\n")
    assert reply.endswith(b"Connection: close\r\n\r\n")


def test_405_names_the_methods_that_are_allowed() -> None:
    assert b"\r\nAllow: GET, HEAD\r\n" in response(405)


@pytest.mark.parametrize("head", [ReplyHead(200, 12952), ReplyHead(404, 0, close=True), ReplyHead(200, None)])
def test_a_reply_head_is_read_back(head: ReplyHead) -> None:
    assert ReplyHead.parse(head.encode()) == head


def test_any_order_spelling_and_reason_of_a_reply_is_read() -> None:
    head = b"HTTP/1.0 200\r\nServer: x\r\nconnection: Close\r\nCONTENT-LENGTH:7\r\n\r\n"
    assert ReplyHead.parse(head) == ReplyHead(200, 7, close=True)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"", "no blank line as its end at offset 0"),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", "no blank line as its end"),
        (b"SIP/2.0 200 OK\r\n\r\n", "line at offset 0"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "line at offset 0"),
        (b"HTTP/1.1 2000\r\n\r\n", "line at offset 0"),
        (b"HTTP/1.1 200 OK\r\nContent-length: -1\r\n\r\n", "content-length '-1'"),
        (b"HTTP/1.1 200 OK\r\nContent-length: 1\r\nContent-length: 2\r\n\r\n", "contradicts"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer encoding"),
        (b"HTTP/1.1 200 OK\r\nA:" + b"b" * LARGEST_HEAD + b"\r\n\r\n", "past offset 8192"),
    ],
)
def test_what_is_no_reply_is_refused(head: bytes, sentence: str) -> None:
    with pytest.raises(HttpMalformedError, match=sentence):
        ReplyHead.parse(head)


def test_a_phones_request_is_read_in_one_look_and_whatever_is_unusual_is_left_to_the_parser() -> None:
    asked = b"GET /SEP0011223344AA.cnf.xml.sgn HTTP/1.1\r\nHost:192.0.2.1:6970\r\n\r\n"
    assert plain_get(asked) == ("/SEP0011223344AA.cnf.xml.sgn", False)
    assert plain_get(asked[:-2] + b"Connection: close\r\n\r\n") == ("/SEP0011223344AA.cnf.xml.sgn", True)
    for unusual in (asked[:-1], asked * 2, asked.replace(b"GET", b"HEAD"), asked.replace(b"SEP", b"%53EP"), b""):
        assert plain_get(unusual) is None
