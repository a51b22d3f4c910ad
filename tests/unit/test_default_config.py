"""XMLDefault.cnf.xml: what a phone learns that the cluster does not know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.default_config import DEFAULT_NAME, default_config, is_default_config
from certferry.wire.phone_config import CallManagerMember, DeviceSecurityMode, PhoneConfig, PhoneConfigMalformedError

PUB, SUB = CallManagerMember("pub", "192.0.2.1"), CallManagerMember("sub", "192.0.2.2", 5070, 5071)
AS_SEEN = b"""<Default>
 <callManagerGroup><members>
  <member priority="1"><callManager><processNodeName>192.0.2.2</processNodeName></callManager></member>
  <member priority="0"><callManager><ports><ethernetPhonePort>2000</ethernetPhonePort></ports>
   <processNodeName>192.0.2.1</processNodeName></callManager></member>
 </members></callManagerGroup>
 <loadInformation684 model="Cisco 8851">sip88xx.12-5-1</loadInformation684>
</Default>"""


def test_it_says_where_call_control_is_and_nothing_about_tvs() -> None:
    config = PhoneConfig.parse(default_config([PUB, SUB]))
    assert config.callmanagers == (PUB, SUB)
    assert (config.tvs, config.capf, config.security_mode) == ((), (), DeviceSecurityMode.NON_SECURE)
    assert not config.is_short


def test_one_that_others_wrote_is_read_in_the_order_of_priority() -> None:
    assert [member.address for member in PhoneConfig.parse(AS_SEEN).callmanagers] == ["192.0.2.1", "192.0.2.2"]


def test_a_group_where_a_phone_s_own_configuration_has_it_is_not_looked_for() -> None:
    moved = b"<Default><devicePool>" + AS_SEEN.split(b"<Default>")[1].replace(b"</Default>", b"</devicePool></Default>")
    assert PhoneConfig.parse(moved).callmanagers == ()


@pytest.mark.parametrize("name", [DEFAULT_NAME, f"{DEFAULT_NAME}.sgn", "xmldefault.cnf.xml"])
def test_it_is_known_by_its_name(name: str) -> None:
    assert is_default_config(name)
    assert not is_default_config("SEP001122334455.cnf.xml.sgn")


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_written_readably_or_refused(name: str, address: str) -> None:
    try:
        written = default_config([CallManagerMember(name, address)])
    except PhoneConfigMalformedError:
        return
    PhoneConfig.parse(written)
