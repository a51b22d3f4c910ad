"""The alarm in which a phone says which trust lists it holds."""

import pytest

from certferry.wire.phone_alarm import DeviceTLInfo, PhoneAlarm, PhoneAlarmMalformedError

CTL, ITL = "0A1B" * 10, "FFEE" * 10
INFO = DeviceTLInfo("SEP001122334455", "10.0.0.9", CTL, "cucm-pub", ITL, "cucm-sub", 3)
AS_A_PHONE_SENDS_IT = """<?xml version="1.0" encoding="UTF-8" ?>
<x-cisco-alarm>
<Alarm Name="DeviceTLInfo">
<ParameterList>
<String name="DeviceName">SEP001122334455</String>
<String name="IPv4Address">10.0.0.9</String>
<String name="IPv6Address"></String>
<String name="CTL_Signature">Not Installed</String>
<String name="CTL_TFTP_Server">N/A</String>
<String name="ITL_Signature">FF EE FF EE FF EE FF EE FF EE FF EE FF EE FF EE FF EE FF EE </String>
<String name="ITL_TFTP_Server">cucm-pub</String>
</ParameterList>
</Alarm>
</x-cisco-alarm>
"""


def edited(old: str, new: str) -> bytes:
    assert old in AS_A_PHONE_SENDS_IT
    return AS_A_PHONE_SENDS_IT.replace(old, new).encode()


def test_a_phone_says_what_it_holds_and_that_all_went_well() -> None:
    assert DeviceTLInfo.parse(AS_A_PHONE_SENDS_IT.encode()) == DeviceTLInfo(
        "SEP001122334455", "10.0.0.9", itl=ITL, itl_server="cucm-pub"
    )


def test_a_failed_update_has_a_status_code() -> None:
    data = edited("</ParameterList>", '<Enum name="StatusCode">3</Enum></ParameterList>')
    assert DeviceTLInfo.parse(data).status_code == 3


def test_signatures_are_written_as_phones_write_them() -> None:
    values = dict(INFO.alarm().parameters)
    assert values["CTL_Signature"] == "0A 1B " * 10
    assert dict(DeviceTLInfo("SEP0", "").alarm().parameters)["ITL_Signature"] == "Not Installed"
    assert DeviceTLInfo.parse(INFO.encode()) == INFO


def test_other_alarms_are_read_and_are_not_this_one() -> None:
    data = edited("DeviceTLInfo", "LastOutOfServiceInformation")
    assert PhoneAlarm.parse(data).name == "LastOutOfServiceInformation"
    with pytest.raises(PhoneAlarmMalformedError):
        DeviceTLInfo.parse(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FF EE", "FF"),
        ("Not Installed", "none"),
        ("SEP001122334455", "../../etc"),
        ("SEP001122334455", ""),
        ("</ParameterList>", '<Enum name="StatusCode">-1</Enum></ParameterList>'),
        ("</ParameterList>", '<Enum name="x"/>' * 101 + "</ParameterList>"),
        ("<x-cisco-alarm>", '<!DOCTYPE a [<!ENTITY b "c">]><x-cisco-alarm>'),
        ("</Alarm>", ""),
        ("UTF-8", "no-such-encoding"),
        ("cucm-pub", "x" * 16384),
    ],
)
def test_what_is_no_such_alarm_is_refused(old: str, new: str) -> None:
    with pytest.raises(PhoneAlarmMalformedError):
        DeviceTLInfo.parse(edited(old, new))


@pytest.mark.parametrize("data", [b"", b"<x-cisco-alarm/>", b"<Alarm/>", b"\xff", b"<a>" * 5000])
def test_what_is_no_alarm_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(PhoneAlarmMalformedError):
        PhoneAlarm.parse(data)


def test_text_that_xml_cannot_hold_is_not_written() -> None:
    with pytest.raises(PhoneAlarmMalformedError):
        PhoneAlarm("x", (("a", "\x00"),)).encode()
