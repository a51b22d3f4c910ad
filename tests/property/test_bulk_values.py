"""File names, labels, manifests and locks: whatever is written reads back, and junk is named or ignored."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from bulk_lab import Cluster
from certferry.bulk.files import (
    BundleName,
    NameUnusableError,
    cluster_of_manifest,
    final_name,
    is_plain_name,
    lock_name,
    manifest_name,
    temporary_name,
)
from certferry.bulk.labels import Label
from certferry.bulk.lock import Lock
from certferry.bulk.manifest import (
    CertificateRecord,
    FileRecord,
    Manifest,
    ManifestMalformedError,
    SignedManifest,
)
from certferry.cluster.values import Identity, Node, NodeRole
from certferry.trust.purpose import BulkType, Purpose
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from conftest import x509_name

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
names = st.text(characters, min_size=1, max_size=7)
"""Short enough that, with every character escaped, two of them still fit into a file name."""
types = st.sampled_from(BulkType)
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- the strategy adds the zone


@given(types, names, names)
def test_every_cluster_and_node_name_survives_in_a_file_name(bulk_type: BulkType, cluster: str, node: str) -> None:
    name = BundleName(bulk_type, cluster, node)
    assert BundleName.parse(name.text) == name
    assert is_plain_name(name.text)
    assert name.text.isascii()
    assert final_name(temporary_name(name.text, "0" * 16)) == name.text


@given(names)
def test_every_cluster_name_survives_in_a_manifests_name(cluster: str) -> None:
    assert cluster_of_manifest(manifest_name(cluster)) == cluster
    assert lock_name(cluster) != lock_name(None)


@given(names, names, names, names)
def test_no_two_exports_share_a_file_name(cluster: str, node: str, cluster2: str, node2: str) -> None:
    one, two = BundleName(BulkType.TFTP, cluster, node), BundleName(BulkType.TFTP, cluster2, node2)
    assert (one.text == two.text) == (one == two)


@given(st.text(max_size=60))
def test_any_name_a_server_lists_is_understood_or_foreign(text: str) -> None:
    try:
        name = BundleName.parse(text)
    except NameUnusableError:
        raise AssertionError(text) from None
    assert name is None or name.text == text
    cluster = cluster_of_manifest(text)
    assert cluster is None or manifest_name(cluster) == text


@given(names, names, st.sampled_from(Purpose), st.text(max_size=20))
def test_every_label_tells_cluster_node_and_purpose(cluster: str, node: str, purpose: Purpose, cn: str) -> None:
    label = Label(cluster, node, str(purpose), cn)
    read = Label.parse(label.text)
    assert read
    assert (read.cluster, read.node, read.purpose) == (cluster, node, purpose)
    assert label.text.isprintable()


@given(st.text(max_size=60))
def test_any_friendly_name_is_understood_or_foreign(text: str) -> None:
    label = Label.parse(text)
    assert label is None or text.count("/") >= 3


@cache
def signer() -> Cluster:

    key = rsa.generate_private_key(65537, 2048)
    name = x509_name("CN=pub")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    own = Identity(Purpose.TOMCAT, None, Certificate.of(certificate))

    node = Node("pub", "192.0.2.1", frozenset({NodeRole.PUBLISHER}))
    return Cluster("source", Release(11, 5, 1), key, [node], [own])


texts = st.text(characters, max_size=9)
records = st.builds(
    FileRecord,
    hashes,
    st.integers(0, 10**9),
    st.lists(st.builds(CertificateRecord, texts, hashes, texts), max_size=3).map(tuple),
)
manifests = st.builds(
    Manifest,
    texts,
    st.sampled_from([Release(10, 5, 2), Release(12), Release(15)]),
    times,
    st.dictionaries(texts, records, max_size=3),
    st.dictionaries(texts, hashes, max_size=3),
)


@given(manifests)
def test_every_manifest_reads_back(manifest: Manifest) -> None:
    assert SignedManifest.parse(manifest.signed(signer())).manifest == manifest


@given(st.binary(max_size=300))
def test_junk_is_never_a_manifest_and_never_breaks_the_reader(data: bytes) -> None:
    try:
        SignedManifest.parse(data)
    except ManifestMalformedError:
        return
    raise AssertionError(data)


@given(manifests, st.data())
def test_a_manifest_with_any_value_swapped_is_refused_or_the_same(manifest: Manifest, data: st.DataObject) -> None:
    envelope = json.loads(manifest.signed(signer()))
    junk: Any = data.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=3,
        )
    )
    place = data.draw(st.sampled_from([envelope, envelope["manifest"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = junk
    try:
        read = SignedManifest.parse(json.dumps(envelope).encode())
    except ManifestMalformedError:
        return
    assert read.manifest == manifest


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_changes_nothing(position: int, value: int) -> None:
    manifest = Manifest("source", Release(15), datetime(2026, 1, 1, tzinfo=UTC), {})
    data = bytearray(manifest.signed(signer()))
    data[-1 - position % len(data)] = value
    try:
        read = SignedManifest.parse(bytes(data))
    except ManifestMalformedError:
        return
    assert read.manifest == manifest


@given(st.binary(max_size=200))
def test_junk_is_no_lock(data: bytes) -> None:
    assert Lock.parse(data) is None


@given(names, names, times)
def test_every_lock_reads_back(cluster: str, operation: str, now: datetime) -> None:
    lock = Lock.mine(cluster, operation, now)
    assert Lock.parse(lock.encode()) == lock
