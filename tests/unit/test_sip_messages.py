"""SIP as far as registration takes it: what phones send, what they are answered, how a stream is cut up."""

import pytest

from certferry.wire.sip import (
    MAX_BODY,
    MAX_HEADERS,
    Register,
    Response,
    SipMalformedError,
    SipMessage,
    frame_length,
)

AS_A_PHONE_SENDS_IT = (
    b"REGISTER sip:10.48.47.153 SIP/2.0\r\n"
    b"v: SIP/2.0/TLS 10.1.1.9:51034;branch=z9hG4bK7d5ba1c5\r\n"
    b"f: <sip:1000@10.48.47.153>;tag=b000b4ba0aee\r\n"
    b"t: <sip:1000@10.48.47.153>\r\n"
    b"i: b000b4ba-0aee0002@10.1.1.9\r\n"
    b"Max-Forwards: 70\r\n"
    b"CSeq:\t101 REGISTER\r\n"
    b"User-Agent: Cisco-CP8861/12.8.1\r\n"
    b"m: <sip:4f1e@10.1.1.9:51034;transport=tls>;\r\n"
    b' +sip.instance="<urn:uuid:00000000-0000-0000-0000-b000b4ba0aee>";\r\n'
    b'\t+u.sip!devicename.ccm.cisco.com="SEPB000B4BA0AEE";+u.sip!model.ccm.cisco.com="684"\r\n'
    b"Expires: 3600\r\n"
    b"l: 0\r\n"
    b"\r\n"
)


def register(**changes: object) -> Register:
    values: dict[str, object] = {"local": "10.0.0.9:50000", "call_id": "1@10.0.0.9", "tag": "a1"}
    return Register.of("SEP000000000001", "10.0.0.1", **(values | changes))  # type: ignore[arg-type]


def edited(old: bytes, new: bytes) -> bytes:
    assert old in AS_A_PHONE_SENDS_IT
    return AS_A_PHONE_SENDS_IT.replace(old, new)


def test_a_register_of_a_real_phone_with_short_names_and_folded_lines_is_read() -> None:
    parsed = Register.parse(AS_A_PHONE_SENDS_IT)
    assert parsed.device == "SEPB000B4BA0AEE"
    assert parsed.host == "10.48.47.153"
    assert parsed.via == ("SIP/2.0/TLS 10.1.1.9:51034;branch=z9hG4bK7d5ba1c5",)
    assert parsed.call_id == "b000b4ba-0aee0002@10.1.1.9"
    assert (parsed.cseq, parsed.expires) == (101, 3600)


def test_a_register_has_exactly_these_lines() -> None:
    assert register().encode().decode().split("\r\n") == [
        "REGISTER sip:10.0.0.1 SIP/2.0",
        "Via: SIP/2.0/TCP 10.0.0.9:50000;branch=z9hG4bKa1101",
        "From: <sip:SEP000000000001@10.0.0.1>;tag=a1",
        "To: <sip:SEP000000000001@10.0.0.1>",
        "Call-ID: 1@10.0.0.9",
        "CSeq: 101 REGISTER",
        "Max-Forwards: 70",
        'Contact: <sip:SEP000000000001@10.0.0.9:50000;transport=tcp>;+u.sip!devicename.ccm.cisco.com="SEP000000000001"',
        "Expires: 120",
        "Content-Length: 0",
        "",
        "",
    ]


@pytest.mark.parametrize("expires", [0, 120, 86400])
def test_a_register_is_read_back_as_written(expires: int) -> None:
    written = register(expires=expires, transport="TLS", cseq=7)
    assert Register.parse(written.encode()) == written


def test_without_the_device_parameter_the_contact_user_is_the_device() -> None:
    contact = b"m: <sip:SEP0011@10.1.1.9>\r\n"
    data = edited(AS_A_PHONE_SENDS_IT.partition(b"m: ")[2].partition(b"Expires")[0], contact[3:])
    assert Register.parse(data).device == "SEP0011"


def test_a_contact_of_a_star_leaves_the_device_to_the_recipient() -> None:
    data = edited(AS_A_PHONE_SENDS_IT.partition(b"m: ")[2].partition(b"Expires")[0], b"*\r\n")
    assert Register.parse(data.replace(b"sip:1000@", b"sip:sep0012@")).device == "SEP0012"


def test_the_expiry_in_the_contact_outweighs_the_header() -> None:
    assert Register.parse(edited(b'com="684"', b'com="684";expires=30')).expires == 30


def test_a_register_without_an_expiry_asks_for_two_minutes() -> None:
    assert Register.parse(edited(b"Expires: 3600\r\n", b"")).expires == 120


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (edited(b"REGISTER sip:10", b"INVITE sip:10"), "is no REGISTER"),
        (edited(b"REGISTER sip:10", b"REGISTER tel:10"), "is no REGISTER"),
        (edited(b"53 SIP/2.0\r\nv", b"53 HTTP/1.1\r\nv"), "no SIP start line"),
        (edited(b"f: ", b"X: "), "without From"),
        (edited(b"t: ", b"X: "), "without To"),
        (edited(b"i: ", b"X: "), "without Call-ID"),
        (edited(b"m: ", b"X: "), "without Contact"),
        (edited(b"CSeq:\t101 REGISTER", b"CSeq: 101 INVITE"), "CSeq"),
        (edited(b"Expires: 3600", b"Expires: soon"), "Expires"),
        (edited(b"SEPB000B4BA0AEE", b"").replace(b"sip:4f1e@", b"sip:").replace(b"1000@", b""), "names a device"),
        (edited(b"l: 0", b"l: many"), "Content-Length"),
        (edited(b"l: 0", b"l: -1"), "Content-Length"),
        (edited(b"l: 0", b"l: 0\r\nContent-Length: 5"), "there are two"),
        (edited(b"l: 0", b"l: 4"), "not one whole"),
        (edited(b"Max-Forwards: 70", b"Max Forwards 70"), "is no SIP header"),
        (edited(b"Max-Forwards: 70", b"Max-Forwards: \x0070"), "control character"),
        (b"", "not one whole"),
        (b"\r\n\r\n", "no SIP start line"),
        (b"REGISTER sip:a SIP/2.0\r\n", "not one whole"),
    ],
)
def test_what_is_no_register_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(SipMalformedError, match=reason):
        Register.parse(data)


def test_an_answer_carries_back_what_names_the_request_and_tags_our_side() -> None:
    answer = Response.to(SipMessage.parse(AS_A_PHONE_SENDS_IT), 200, tag="r1", expires=60)
    assert answer.encode().decode().split("\r\n")[:6] == [
        "SIP/2.0 200 OK",
        "Via: SIP/2.0/TLS 10.1.1.9:51034;branch=z9hG4bK7d5ba1c5",
        "From: <sip:1000@10.48.47.153>;tag=b000b4ba0aee",
        "To: <sip:1000@10.48.47.153>;tag=r1",
        "Call-ID: b000b4ba-0aee0002@10.1.1.9",
        "CSeq: 101 REGISTER",
    ]
    assert 'u.sip!devicename.ccm.cisco.com="SEPB000B4BA0AEE"' in (answer.first("Contact") or "")
    assert answer.first("expires") == "60"


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "OK"), (400, "Bad Request"), (403, "Forbidden"), (404, "Not Found"), (499, "Unknown")]
)
def test_an_answer_is_read_back_as_written(status: int, reason: str) -> None:
    written = Response.to(SipMessage.parse(register().encode()), status, tag="r1")
    assert Response.parse(written.encode()) == written
    assert written.reason == reason


def test_several_vias_come_back_in_order() -> None:
    request = SipMessage("REGISTER sip:a SIP/2.0", (("Via", "one"), ("v", "two")))
    assert Response.to(request, 400, tag="x").headers == (("Via", "one"), ("Via", "two"))


def test_a_tag_that_is_there_is_left_alone() -> None:
    request = SipMessage("REGISTER sip:a SIP/2.0", (("To", "<sip:a>;tag=mine"),))
    assert Response.to(request, 400, tag="x").first("to") == "<sip:a>;tag=mine"


@pytest.mark.parametrize("data", [b"REGISTER sip:a SIP/2.0\r\n\r\n", b"SIP/2.0 999 No\r\n\r\n", b"SIP/2.0 OK\r\n\r\n"])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(SipMalformedError):
        Response.parse(data)


def test_a_stream_is_cut_where_content_length_says() -> None:
    first = SipMessage("NOTIFY sip:a SIP/2.0", (("Via", "x"),), b"hello").encode()
    stream = first + register().encode()
    length = frame_length(stream)
    assert length == len(first)
    assert SipMessage.parse(stream[:length]).body == b"hello"


def test_the_length_is_unknown_until_the_headers_have_ended() -> None:
    whole = register().encode()
    assert [frame_length(whole[:count]) for count in range(len(whole))] == [None] * len(whole)
    assert frame_length(whole) == len(whole)


def test_headers_that_never_end_are_refused_at_the_limit() -> None:
    assert frame_length(b"a" * (MAX_HEADERS - 1)) is None
    with pytest.raises(SipMalformedError, match="no end of headers"):
        frame_length(b"a" * MAX_HEADERS)


def test_a_body_above_the_limit_is_refused_before_it_comes() -> None:
    with pytest.raises(SipMalformedError, match="above the limit"):
        frame_length(f"NOTIFY sip:a SIP/2.0\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode())


@pytest.mark.parametrize("text", ["SEP1\r\nX-Evil: 1", "SEP\0", "SEP\ud800"])
def test_text_that_would_break_the_lines_is_never_written(text: str) -> None:
    with pytest.raises(SipMalformedError):
        register(call_id=text).encode()
