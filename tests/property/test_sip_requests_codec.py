"""NOTIFY, REFER and the alarms in them hold for all values and all bytes."""

import contextlib
from string import ascii_uppercase, digits

from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.phone_alarm import DeviceTLInfo, PhoneAlarm, PhoneAlarmMalformedError
from certferry.wire.sip import SipMalformedError
from certferry.wire.sip_requests import Notify, Refer

devices = st.text(ascii_uppercase + digits, min_size=1, max_size=15).map("SEP{}".format)
hosts = st.ip_addresses(v=4).map("{}:5060".format)
tokens = st.text(ascii_uppercase + digits, min_size=1, max_size=12)
signatures = st.just("") | st.binary(min_size=20, max_size=20).map(lambda raw: raw.hex().upper())
names = st.text(ascii_uppercase + digits + ".-", min_size=1, max_size=20)
lists = st.builds(
    DeviceTLInfo, devices, st.ip_addresses(v=4).map(str), signatures, names, signatures, names,
    st.none() | st.integers(0, 99_999),
)  # fmt: skip
notifies = st.builds(
    Notify.reset, devices, request_id=st.text(min_size=1, max_size=40), host=hosts, peer=hosts,
    transport=st.sampled_from(["TCP", "TLS"]),
)  # fmt: skip
refers = st.builds(
    Refer.of, devices, hosts, local=hosts, call_id=tokens, tag=tokens, alarm=st.binary(max_size=500),
    cseq=st.integers(0, 2**31),
)  # fmt: skip


@given(notifies)
def test_every_reset_survives_the_wire(notify: Notify) -> None:
    assert Notify.parse(notify.encode()) == notify


@given(st.text(max_size=40))
def test_every_request_id_comes_back(request_id: str) -> None:
    notify = Notify.reset("SEP0", request_id=request_id, host="h", peer="p")
    assert Notify.parse(notify.encode()).request_id == request_id


@given(refers)
def test_every_alarm_message_survives_the_wire(refer: Refer) -> None:
    assert Refer.parse(refer.encode()) == refer


@given(lists)
def test_every_word_on_trust_lists_survives_the_wire(info: DeviceTLInfo) -> None:
    assert DeviceTLInfo.parse(info.encode()) == info


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(SipMalformedError):
        Notify.parse(data)
    with contextlib.suppress(SipMalformedError):
        Refer.parse(data)
    with contextlib.suppress(PhoneAlarmMalformedError):
        PhoneAlarm.parse(data)


@given(notifies, refers, lists, st.data())
def test_damaged_bytes_are_read_or_refused(
    notify: Notify, refer: Refer, info: DeviceTLInfo, data: st.DataObject
) -> None:
    for parse, whole in ((Notify.parse, notify), (Refer.parse, refer), (DeviceTLInfo.parse, info)):
        damaged = bytearray(whole.encode())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(SipMalformedError, PhoneAlarmMalformedError):
            parse(bytes(damaged)).encode()
