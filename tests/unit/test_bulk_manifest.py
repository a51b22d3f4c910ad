"""The signed manifest: what it says, and what is refused."""

import base64
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from bulk_lab import NOW, Cluster, make_cluster
from certferry.bulk.manifest import (
    CertificateRecord,
    FileRecord,
    Manifest,
    ManifestMalformedError,
    ManifestSignatureError,
    SignedManifest,
    digest,
)
from certferry.trust.purpose import Purpose
from certferry.trust.release import Release
from conftest import MakeCertificate

RECORD = FileRecord("ab" * 32, 1234, (CertificateRecord("source/pub/tomcat/pub", "cd" * 32, "CN=pub"),))
MANIFEST = Manifest("source", Release(10, 5, 2), NOW, {"source_pub_tomcat.p12": RECORD}, {"x.p12": "ef" * 32})


@pytest.fixture(scope="module")
def cluster(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, rsa_key, "source", nodes=("pub",))


@pytest.fixture(scope="module")
def signed(cluster: Cluster) -> dict[str, Any]:
    return dict(json.loads(MANIFEST.signed(cluster)))


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_manifest_reads_back_with_its_signer(cluster: Cluster) -> None:
    read = SignedManifest.parse(MANIFEST.signed(cluster))
    assert read.manifest == MANIFEST
    assert read.signer == cluster.certificate(Purpose.TOMCAT)
    assert read.fingerprint == read.signer.sha256


def test_layout_and_order_do_not_count_only_what_is_said(signed: dict[str, Any]) -> None:
    shuffled = {key: signed[key] for key in reversed(signed)}
    shuffled["manifest"] = dict(reversed(signed["manifest"].items()))
    assert SignedManifest.parse(json.dumps(shuffled, indent=7).encode()).manifest == MANIFEST


def test_times_are_one_whatever_their_zone(cluster: Cluster) -> None:
    tokyo = replace(MANIFEST, exported_at=NOW.astimezone(timezone(timedelta(hours=9))))
    assert tokyo.signed(cluster) == MANIFEST.signed(cluster)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cluster", "other"),
        ("release", "15"),
        ("exported_at", "2026-06-01T12:00:01+00:00"),
        ("files", {}),
        ("sources", {}),
        ("added", "later"),
    ],
)
def test_any_change_after_signing_is_found(signed: dict[str, Any], key: str, value: object) -> None:
    changed = {**signed, "manifest": {**signed["manifest"], key: value}}
    with pytest.raises(ManifestSignatureError, match="was changed after it was signed"):
        SignedManifest.parse(text(changed))


def test_another_clusters_certificate_does_not_fit_the_signature(
    signed: dict[str, Any], make_certificate: MakeCertificate, other_rsa_key: RSAPrivateKey
) -> None:
    for stranger in (make_certificate("CN=evil", key=other_rsa_key), make_certificate("CN=evil", ec=True)):
        with pytest.raises(ManifestSignatureError):
            SignedManifest.parse(text({**signed, "certificate": stranger.pem}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.update(format="certferry manifest 2"),
        lambda m: m.update(cluster=3),
        lambda m: m.update(cluster=None),
        lambda m: m.update(release="9.1"),
        lambda m: m.update(exported_at="yesterday"),
        lambda m: m.update(exported_at="2026-06-01T12:00:00"),
        lambda m: m.update(files=[]),
        lambda m: m.update(files={"a": {}}),
        lambda m: m["files"]["source_pub_tomcat.p12"].update(size=-1),
        lambda m: m["files"]["source_pub_tomcat.p12"].update(size=True),
        lambda m: m["files"]["source_pub_tomcat.p12"].update(sha256="AB" * 32),
        lambda m: m["files"]["source_pub_tomcat.p12"].update(sha256="ab"),
        lambda m: m["files"]["source_pub_tomcat.p12"].update(certificates=[{}]),
        lambda m: m.update(sources={"a": "b"}),
        lambda m: m.pop("sources"),
    ],
)
def test_what_is_no_manifest_is_refused(signed: dict[str, Any], spoil: Any) -> None:
    spoiled = json.loads(json.dumps(signed))
    spoil(spoiled["manifest"])
    with pytest.raises(ManifestMalformedError):
        SignedManifest.parse(text(spoiled))


@pytest.mark.parametrize(
    "said",
    [
        {"cluster": "\ud800"},
        {"cluster": "source\0"},
        {"exported_at": "9999-12-31T23:59:59-23:59"},
        {"exported_at": "0001-01-01T00:00:00+23:59"},
        {"files": {"\udfff": {"sha256": "ab" * 32, "size": 1, "certificates": []}}},
        {"files": {"a": {"sha256": "ab" * 32, "size": 1, "certificates": [
            {"friendly_name": "\ud800", "sha256": "ab" * 32, "subject": "CN=a"}]}}},
        {"format": "x" * 100_000},
        {"release": "9" * 100_000},
        {"files": {"a": {"sha256": "x" * 100_000, "size": 1, "certificates": []}}},
        {"files": {"a": {"sha256": "ab" * 32, "size": "x" * 100_000, "certificates": []}}},
    ],
    ids=lambda said: ascii(said)[:40],
)  # fmt: skip
def test_what_nobody_can_keep_or_print_is_refused_in_a_short_sentence_even_when_it_is_signed(
    cluster: Cluster, signed: dict[str, Any], said: dict[str, Any]
) -> None:
    manifest = {**signed["manifest"], **said}
    told = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    signature = base64.b64encode(cluster.sign(told)[0]).decode()
    with pytest.raises(ManifestMalformedError) as refused:
        SignedManifest.parse(text({**signed, "manifest": manifest, "signature": signature}))
    assert len(refused.value.sentence.encode()) < 300


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"manifest": ' + b"9" * 5000 + b"}",
        b'{"certificate": "x", "signature": "", "manifest": {}}',
        b'{"certificate": 1, "signature": "", "manifest": {}}',
    ],
)
def test_bytes_that_are_no_signed_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestMalformedError):
        SignedManifest.parse(data)


def test_a_signature_that_is_no_base64_is_refused(signed: dict[str, Any]) -> None:
    for signature in ("?", "é", base64.b64encode(b"short").decode()):
        with pytest.raises(ManifestMalformedError):
            SignedManifest.parse(text({**signed, "signature": signature}))


def test_a_digest_is_sha256_in_lower_case_hex() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert datetime.fromisoformat("2026-06-01T12:00:00+00:00") == NOW
