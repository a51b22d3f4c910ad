"""The configuration codec holds for all values and for all bytes."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.phone_config import (
    CallManagerMember,
    CapfMember,
    DeviceSecurityMode,
    PhoneConfig,
    PhoneConfigMalformedError,
    Transport,
    TvsMember,
)

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=50).map(str.strip)
names = texts.filter(bool)
ports = st.integers(1, 65535)
configs = st.builds(
    PhoneConfig,
    device=texts,
    callmanagers=st.lists(st.builds(CallManagerMember, texts, names, ports, ports), max_size=3).map(tuple),
    tvs=st.lists(st.builds(TvsMember, st.integers(0, 4), names, ports), max_size=5).map(
        lambda members: tuple(sorted(members, key=lambda member: member.priority))
    ),
    security_mode=st.sampled_from(DeviceSecurityMode),
    transport=st.sampled_from(Transport),
    load_information=texts,
    encrypted=st.booleans(),
    cert_hash=texts,
    capf=st.lists(st.builds(CapfMember, names, ports), max_size=3).map(tuple),
    model=texts,
    full=st.booleans(),
)


@given(configs)
def test_every_configuration_survives_the_wire(config: PhoneConfig) -> None:
    assert PhoneConfig.parse(config.encode()) == config


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(PhoneConfigMalformedError):
        PhoneConfig.parse(data)


@given(configs, st.data())
def test_a_damaged_file_is_read_or_refused(config: PhoneConfig, data: st.DataObject) -> None:
    damaged = bytearray(config.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PhoneConfigMalformedError):
        PhoneConfig.parse(bytes(damaged))


@given(st.text(max_size=30))
def test_any_text_in_a_value_is_written_readably_or_refused(text: str) -> None:
    with contextlib.suppress(PhoneConfigMalformedError):
        PhoneConfig.parse(PhoneConfig(text, ()).encode())
