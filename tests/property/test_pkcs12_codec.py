"""Whatever is written is read again; whatever bytes come, nothing but the codec's own errors goes out."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certferry.errors import MalformedError
from certferry.wire.certificate import Certificate
from certferry.wire.pkcs12 import Bundle, BundledCertificate, Profile, parse
from certferry.wire.pkcs12_outline import Outline
from conftest import MakeCertificate

NAMES = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("C", "Z")), min_size=1, max_size=40)
SHARED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def shelf(make_certificate: MakeCertificate) -> list[Certificate]:
    return [make_certificate(f"CN=node{n};O=Example", ec=bool(n % 2)) for n in range(4)]


@pytest.fixture(scope="module")
def files(shelf: list[Certificate]) -> dict[str, bytes]:
    bundle = Bundle(tuple(BundledCertificate(c, c.common_name) for c in shelf[:2]))
    return {
        "modern": bundle.encode("pw", Profile.MODERN),
        "legacy": bundle.encode("pw", Profile.LEGACY),
        "plain": bundle.encode(None),
        "without mac": without_mac(bundle.encode(None)),
    }


def without_mac(data: bytes) -> bytes:
    """Cut the MacData off a file of two-byte lengths: its content then stands unprotected."""
    content_end = 4 + 3 + 4 + int.from_bytes(data[9:11], "big")
    body = data[4:content_end]
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


@SHARED
@given(data=st.data())
def test_what_is_written_is_read_again(shelf: list[Certificate], data: st.DataObject) -> None:
    names = data.draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold))
    password = data.draw(st.none() | st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20))
    bundle = Bundle(tuple(BundledCertificate(c, name) for c, name in zip(shelf, names, strict=False)))
    assert parse(bundle.encode(password, data.draw(st.sampled_from(Profile))), [password]) == bundle


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_the_codec_s_errors(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data, ["pw", None])


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    kind=st.sampled_from(["modern", "legacy", "plain", "without mac"]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_changed_file_raises_only_the_codec_s_errors(
    files: dict[str, bytes], kind: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(files[kind])
    for position, value in changes:
        data[position % len(data)] = value
    try:
        bundle = parse(bytes(data), ["pw", None])
    except MalformedError:
        return
    assert bundle.mac == Outline.parse(bytes(data)).mac


def test_a_file_without_a_mac_opens_with_any_password_and_says_so(
    files: dict[str, bytes], shelf: list[Certificate]
) -> None:
    bundle = parse(files["without mac"], ["anything"])
    assert not bundle.mac
    assert [entry.certificate for entry in bundle.certificates] == shelf[:2]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cut=st.integers(0, 10_000))
def test_a_truncated_file_is_malformed(files: dict[str, bytes], cut: int) -> None:
    whole = files["plain"]
    with pytest.raises(MalformedError):
        parse(whole[: cut % len(whole)], [None])
