"""Whatever a trust list says survives writing and reading; whatever bytes come, only a named refusal follows."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

import published_lists as published
from certferry.errors import MalformedError
from certferry.wire.listing import listing
from certferry.wire.signed_header import Digest, SignedHeader, signed_bytes, verify_with_key
from certferry.wire.trust_list import TrustList, TrustRecord

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
serials = st.binary(min_size=1, max_size=20)
pairs = st.tuples(st.integers(0, 255), st.integers(0, 255))
others = st.lists(st.tuples(st.integers(40, 255), st.binary(max_size=20)), max_size=3).map(tuple)
addresses = st.one_of(st.just(""), st.ip_addresses(v=4).map(str))

headers = st.builds(
    SignedHeader,
    version=pairs,
    subject=names,
    issuer=names,
    serial=serials,
    digest=st.sampled_from(Digest),
    filename=names,
    timestamp=st.none() | st.integers(0, 2**32 - 1),
    signer_version=st.none() | pairs,
    signature=st.sampled_from([64, 128, 256, 512]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    others=others,
)
records = st.builds(
    TrustRecord,
    role=st.integers(0, 65535),
    dns_name=names,
    subject=names,
    issuer=names,
    serial=serials,
    public_key=st.binary(max_size=100),
    signature=st.binary(max_size=100),
    certificate=st.binary(max_size=300),
    ip_address=addresses,
    certificate_hash=st.binary(max_size=64),
    hash_algorithm=st.none() | st.integers(0, 255),
)
emptied = st.builds(TrustRecord.emptied, names, st.integers(0, 65535), addresses)
trust_lists = st.builds(TrustList, headers, st.lists(records | emptied, max_size=5).map(tuple))
VALID = published.back_to_non_secure().encode()


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """Valid bytes with a few places overwritten, then cut or lengthened."""
    changes = st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=4)

    def apply(where: list[tuple[int, int]], keep: int, tail: bytes) -> bytes:
        data = bytearray(valid)
        for position, value in where:
            data[position] = value
        return bytes(data[:keep]) + tail

    sizes = st.just(len(valid)) | st.integers(0, len(valid))
    return st.builds(apply, changes, sizes, st.binary(max_size=8))


@given(headers, st.binary(max_size=50))
def test_a_header_survives_whatever_body_follows(header: SignedHeader, body: bytes) -> None:
    data = header.encode()
    assert SignedHeader.parse_prefix(data + body) == (header, len(data))
    assert len(data) % 4 == 0


@given(headers, st.binary(max_size=50))
def test_what_is_signed_is_the_file_less_exactly_the_signature_element(header: SignedHeader, body: bytes) -> None:
    data = header.encode() + body
    before, after = header.around_signature(len(header.signature))
    assert signed_bytes(data) == before + after + body
    assert len(data) == len(before + after + body) + 3 + len(header.signature)


@given(trust_lists)
def test_a_trust_list_survives_writing_and_reading(trust_list: TrustList) -> None:
    data = trust_list.encode()
    assert TrustList.parse(data) == trust_list
    assert TrustList.parse(data).encode() == data


@given(records | emptied)
def test_a_record_is_as_long_as_it_says(record: TrustRecord) -> None:
    data = record.encode()
    assert int.from_bytes(data[3:5], "big") == len(data) == record.size
    assert TrustRecord.parse(data) == record


@given(trust_lists)
def test_the_record_of_a_signer_is_one_of_those_in_its_role_or_none(trust_list: TrustList) -> None:
    header = trust_list.header
    record = trust_list.find(header.subject, header.issuer, header.serial, 0)
    assert record is None or record in trust_list.records_with_role(0)


@given(st.binary(max_size=600) | mutated(VALID))
def test_no_bytes_raise_anything_but_a_named_refusal(data: bytes) -> None:
    try:
        trust_list = TrustList.parse(data)
    except MalformedError as refusal:
        assert refusal.code.startswith("wire.")  # noqa: PT017 -- any refusal will do, if it is one of ours
    else:
        assert TrustList.parse(trust_list.encode()) == trust_list


@given(st.binary(max_size=600) | mutated(VALID), st.binary(max_size=40))
def test_no_bytes_make_verification_fail_with_anything_else(data: bytes, key: bytes) -> None:
    with suppress(MalformedError):
        assert not verify_with_key(data, key)


@given(st.binary(max_size=600) | mutated(VALID), st.booleans())
def test_any_bytes_can_be_listed(data: bytes, verified: bool) -> None:
    text = listing(data, "ITL", verified, "Fri Mar 06 19:45:13 CET 2015")
    assert all(line.isprintable() for line in text.split("\n"))
