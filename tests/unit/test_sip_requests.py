"""NOTIFY that resets a phone, and REFER that brings its alarm."""

import pytest

from certferry.wire.sip import Response, SipMalformedError, SipMessage
from certferry.wire.sip_requests import ALARM_TYPE, RESET_BODY, Notify, Refer

DEVICE = "SEPB000B4BA0AEE"


def notify(request_id: str = "m1/r7") -> Notify:
    return Notify.reset(DEVICE, request_id=request_id, host="10.0.0.1:5060", peer="10.0.0.9:50000")


def refer(alarm: bytes = b"<x-cisco-alarm/>") -> Refer:
    return Refer.of(DEVICE, "10.0.0.1", local="10.0.0.9:50000", call_id="2@10.0.0.9", tag="a1", alarm=alarm)


def test_a_reset_has_exactly_these_lines() -> None:
    assert notify("r7").encode().decode().split("\r\n") == [
        "NOTIFY sip:SEPB000B4BA0AEE@10.0.0.9:50000 SIP/2.0",
        "Via: SIP/2.0/TCP 10.0.0.1:5060;branch=z9hG4bKr7",
        "From: <sip:10.0.0.1:5060>;tag=r7",
        "To: <sip:SEPB000B4BA0AEE@10.0.0.9:50000>",
        "Call-ID: r7@10.0.0.1:5060",
        "CSeq: 101 NOTIFY",
        "Max-Forwards: 70",
        "Contact: <sip:10.0.0.1:5060>",
        "Event: service-control",
        "Subscription-State: active",
        "Content-Type: text/plain",
        f"Content-Length: {len(RESET_BODY)}",
        "",
        "action=reset",
        "",
    ]


def test_the_phone_learns_which_request_it_is_told() -> None:
    for request_id in ("r7", "migration 1/SEP0@x\r\nEvil: header", "日本"):
        received = Notify.parse(notify(request_id).encode())
        assert (received.request_id, received.action) == (request_id, "reset")


def test_one_request_always_has_one_call_id() -> None:
    assert notify().call_id == notify().call_id
    assert notify("r7").call_id != notify("r8").call_id


def test_the_phone_answers_with_what_tells_the_request() -> None:
    answer = Response.to(SipMessage.parse(notify().encode()), 200, tag="p")
    assert answer.first("Call-ID") == notify().call_id
    assert answer.first("CSeq") == "101 NOTIFY"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NOTIFY sip:SEP", b"INVITE sip:SEP"),
        (b"Event: service-control", b"Event: presence"),
        (b"Event: service-control\r\n", b""),
        (b"101 NOTIFY", b"101 REGISTER"),
        (b"101 NOTIFY", b"x NOTIFY"),
        (b"From: <sip:10.0.0.1:5060>", b"From: <tel:1>"),
        (b"sip:SEPB000B4BA0AEE@10.0.0.9:50000 SIP/2.0", b"tel:1 SIP/2.0"),
    ],
)
def test_what_is_no_reset_is_refused(old: bytes, new: bytes) -> None:
    data = notify().encode()
    assert old in data
    with pytest.raises(SipMalformedError):
        Notify.parse(data.replace(old, new, 1))


def test_an_event_with_parameters_and_a_longer_body_are_read() -> None:
    data = notify().encode().replace(b"service-control", b"Service-Control;id=1")
    assert Notify.parse(data).action == "reset"
    longer = SipMessage.parse(notify().encode())
    body = b"action=restart\r\nRegisterCallId={1}\r\n"
    assert Notify.of_message(SipMessage(longer.start, longer.headers, body)).action == "restart"
    assert Notify.of_message(SipMessage(longer.start, longer.headers, b"xaction=reset")).action == ""


def test_an_alarm_arrives_with_the_device_that_sent_it() -> None:
    received = Refer.parse(refer(b"<x-cisco-alarm>1</x-cisco-alarm>").encode())
    assert (received.device, received.host) == (DEVICE, "10.0.0.1")
    assert received.alarm == b"<x-cisco-alarm>1</x-cisco-alarm>"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"REFER sip:", b"NOTIFY sip:"),
        (ALARM_TYPE.encode(), b"text/plain"),
        (b"102 REFER", b"102 NOTIFY"),
        (b"Contact: ", b"X-Contact: "),
    ],
)
def test_what_is_no_alarm_is_refused(old: bytes, new: bytes) -> None:
    data = refer().encode()
    assert old in data
    with pytest.raises(SipMalformedError):
        Refer.parse(data.replace(old, new, 1))
