"""SEP<MAC>.cnf.xml: what a phone learns from it, what it shrugs off, what is refused."""

import pytest

from certferry.wire.phone_config import (
    MAX_SIZE,
    CallManagerMember,
    CapfMember,
    DeviceSecurityMode,
    PhoneConfig,
    PhoneConfigMalformedError,
    Transport,
    TvsMember,
)

AS_CUCM_WRITES_IT = b"""<?xml version="1.0" encoding="UTF-8"?>
<device xsi:type="axl:XIPPhone" ctiid="94" uuid="{d1f4a1c2-0000-0000-0000-000000000000}">
<fullConfig>true</fullConfig>
<deviceProtocol>SIP</deviceProtocol>
<sshUserId></sshUserId>
<devicePool uuid="{1b1b9eb6-7803-11d3-bdf0-00108302ead1}">
 <dateTimeSetting><dateTemplate>D/M/YA</dateTemplate><timeZone>Tokyo Standard Time</timeZone></dateTimeSetting>
 <callManagerGroup>
  <name>Default</name>
  <members>
   <member priority="1">
    <callManager><name>sub</name><ports><ethernetPhonePort>2000</ethernetPhonePort><sipPort>5060</sipPort>
     <securedSipPort>5061</securedSipPort></ports><processNodeName>10.48.47.154</processNodeName></callManager>
   </member>
   <member priority="0">
    <callManager><name>pub</name><ports><ethernetPhonePort>2000</ethernetPhonePort><sipPort>6060</sipPort>
     <securedSipPort>6061</securedSipPort></ports><processNodeName>10.48.47.153</processNodeName></callManager>
   </member>
  </members>
 </callManagerGroup>
</devicePool>
<TVS>
 <members>
  <member priority="1"><port>2445</port><address>10.48.47.154</address></member>
  <member priority="0"><port>2445</port><address>10.48.47.153</address></member>
 </members>
</TVS>
<sipProfile><sipProxies><registerWithProxy>true</registerWithProxy></sipProxies></sipProfile>
<loadInformation>sip88xx.10-3-1-20</loadInformation>
<deviceSecurityMode>3</deviceSecurityMode>
<transportLayerProtocol>3</transportLayerProtocol>
<certHash></certHash>
<encrConfig>false</encrConfig>
<capfAuthMode>0</capfAuthMode>
<capfList><capf><phonePort>3804</phonePort><processNodeName>10.48.47.153</processNodeName></capf></capfList>
</device>
"""


def config(**changes: object) -> PhoneConfig:
    values: dict[str, object] = {
        "device": "SEPB000B4BA0AEE",
        "callmanagers": (CallManagerMember("pub", "10.0.0.1"), CallManagerMember("sub", "10.0.0.2", 5070, 5071)),
        "tvs": (TvsMember(0, "10.0.0.1"), TvsMember(1, "10.0.0.2", 12445)),
    }
    return PhoneConfig(**(values | changes))  # type: ignore[arg-type]


def document(inner: str) -> bytes:
    return f"<device>{inner}</device>".encode()


def test_a_file_of_unified_cm_is_read_though_its_xsi_prefix_is_never_declared() -> None:
    assert PhoneConfig.parse(AS_CUCM_WRITES_IT) == PhoneConfig(
        device="",
        callmanagers=(
            CallManagerMember("pub", "10.48.47.153", 6060, 6061),
            CallManagerMember("sub", "10.48.47.154", 5060, 5061),
        ),
        tvs=(TvsMember(0, "10.48.47.153"), TvsMember(1, "10.48.47.154")),
        security_mode=DeviceSecurityMode.ENCRYPTED,
        transport=Transport.TLS,
        load_information="sip88xx.10-3-1-20",
        capf=(CapfMember("10.48.47.153"),),
    )


@pytest.mark.parametrize(
    "written",
    [
        config(),
        config(tvs=()),
        config(callmanagers=()),
        config(security_mode=DeviceSecurityMode.AUTHENTICATED, transport=Transport.TLS),
        config(encrypted=True, cert_hash="0c05655de63fe2a042cf252d96c6d609"),
        config(capf=(CapfMember("10.0.0.1"), CapfMember("10.0.0.2", 13804)), model="8861"),
        config(load_information="sip88xx.12-8-1-0001-455", device="SEP<&>\"'日本"),
    ],
)
def test_what_is_written_is_read_back(written: PhoneConfig) -> None:
    assert PhoneConfig.parse(written.encode()) == written


def test_the_tvs_block_has_the_shape_phones_read() -> None:
    text = config().encode().decode()
    assert "".join(line.strip() for line in text.splitlines()).count(
        '<TVS><members><member priority="0"><port>2445</port><address>10.0.0.1</address></member>'
        '<member priority="1"><port>12445</port><address>10.0.0.2</address></member></members></TVS>'
    )


def test_the_ports_of_a_callmanager_stand_where_phones_look_for_them() -> None:
    text = "".join(line.strip() for line in config().encode().decode().splitlines())
    assert (
        '<devicePool><callManagerGroup><members><member priority="0"><callManager><name>pub</name><ports>'
        "<ethernetPhonePort>2000</ethernetPhonePort><sipPort>5060</sipPort><securedSipPort>5061</securedSipPort>"
        "</ports><processNodeName>10.0.0.1</processNodeName></callManager></member>"
    ) in text


def test_without_a_tvs_block_there_is_nobody_to_ask() -> None:
    assert PhoneConfig.parse(document("<devicePool/>")).tvs == ()


def test_an_empty_device_gives_the_defaults() -> None:
    assert PhoneConfig.parse(b"<device/>") == PhoneConfig("", ())


def test_unknown_elements_are_skipped() -> None:
    assert PhoneConfig.parse(document("<brandNew><TVS/></brandNew><deviceSecurityMode>2</deviceSecurityMode>")) == (
        PhoneConfig("", (), security_mode=DeviceSecurityMode.AUTHENTICATED)
    )


def test_a_member_without_an_address_is_nobody() -> None:
    members = '<member priority="0"><port>2445</port></member><member priority="1"><address>b</address></member>'
    assert PhoneConfig.parse(document(f"<TVS><members>{members}</members></TVS>")).tvs == (TvsMember(1, "b"),)


def test_a_callmanager_without_a_node_name_is_reached_by_its_name() -> None:
    group = "<members><member><callManager><name>pub</name></callManager></member></members>"
    parsed = PhoneConfig.parse(document(f"<devicePool><callManagerGroup>{group}</callManagerGroup></devicePool>"))
    assert parsed.callmanagers == (CallManagerMember("pub", "pub"),)


def test_a_second_file_byte_order_mark_and_encoding_are_read() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><device><loadInformation>x</loadInformation></device>'
    assert PhoneConfig.parse(text.encode("utf-16")).load_information == "x"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "well-formed"),
        (b"not xml at all", "well-formed"),
        (b"<device>", "well-formed"),
        (b"<device></device><device/>", "well-formed"),
        (b'<?xml version="1.0" encoding="klingon"?><device/>', "well-formed"),
        (b"<html><body>404</body></html>", "<html>, not <device>"),
        (document("<deviceSecurityMode>9</deviceSecurityMode>"), "deviceSecurityMode"),
        (document("<deviceSecurityMode>none</deviceSecurityMode>"), "from 1 to 3"),
        (document("<transportLayerProtocol>-1</transportLayerProtocol>"), "transportLayerProtocol"),
        (document("<TVS><members><member><port>70000</port><address>a</address></member></members></TVS>"), "65535"),
        (
            document(f"<TVS><members><member><port>{'9' * 5000}</port><address>a</address></member></members></TVS>"),
            "999",
        ),
        (document('<TVS><members><member priority="first"/></members></TVS>'), "priority"),
        (document(f"<TVS><members>{'<member/>' * 17}</members></TVS>"), "17 members"),
        ("<device><deviceSecurityMode>²</deviceSecurityMode></device>".encode(), "from 1 to 3"),
    ],
)
def test_what_is_no_configuration_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(PhoneConfigMalformedError, match=reason):
        PhoneConfig.parse(data)


def test_an_entity_bomb_is_refused_before_it_expands() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE device [<!ENTITY e0 "lol">{entities}]><device>&e9;</device>'
    with pytest.raises(PhoneConfigMalformedError, match="entity"):
        PhoneConfig.parse(bomb.encode())


def test_an_external_entity_is_not_followed() -> None:
    outside = b'<!DOCTYPE device [<!ENTITY x SYSTEM "file:///etc/hostname">]><device>&x;</device>'
    with pytest.raises(PhoneConfigMalformedError, match="entity"):
        PhoneConfig.parse(outside)


def test_a_file_above_a_megabyte_is_refused_unread() -> None:
    with pytest.raises(PhoneConfigMalformedError, match="bytes are more"):
        PhoneConfig.parse(b"<device>" + b" " * MAX_SIZE + b"</device>")


def test_elements_nested_a_hundred_thousand_deep_are_survived() -> None:
    deep = b"<a>" * 100_000 + b"</a>" * 100_000
    assert PhoneConfig.parse(b"<device>" + deep + b"</device>") == PhoneConfig("", ())


@pytest.mark.parametrize("text", ["nul\0", "bell\a", "half\ud800", "line\nbreak", "\uffff"])
def test_text_that_xml_cannot_hold_is_refused_when_written(text: str) -> None:
    with pytest.raises(PhoneConfigMalformedError, match="XML has no such"):
        config(device=text).encode()
