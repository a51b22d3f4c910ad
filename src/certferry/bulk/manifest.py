"""What a cluster says about the files it put into the exchange directory, signed by it.

::

    { "manifest": { "format": "certferry manifest 1", "cluster": "source", "release": "10.5.2",
                    "exported_at": "2026-01-02T03:04:05+00:00",
                    "files": { "source_pub_tomcat.p12": { "sha256": "<hex>", "size": 1234, "certificates": [
                        { "friendly_name": "source/pub/tomcat/CN", "sha256": "<hex>", "subject": "CN=..." } ] } },
                    "sources": { "<file>": "<hex>" } },       only of a consolidated file: what it was made from
      "certificate": "<PEM of the publisher's tomcat certificate>",
      "signature": "<base64: RSA PKCS#1 v1.5, SHA-256, over the manifest>" }

Signed is the value of ``manifest``, written with sorted keys, without spaces, in ASCII.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from certferry.bulk.participant import Participant
from certferry.errors import MalformedError, Refusal
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate

FORMAT = "certferry manifest 1"
_HEX_LENGTH = 64
_LONGEST_REASON = 200
"""Characters; what is wrong may quote the file, and that is a stranger's."""


class ManifestMalformedError(MalformedError):
    """A file with a manifest's name that is none."""

    code = "bulk.manifest-malformed"
    remedy = "Export again on the cluster that wrote the manifest, or take that cluster out of the directory."


class ManifestSignatureError(ManifestMalformedError):
    """A manifest that was changed after it was signed."""

    code = "bulk.manifest-signature"
    remedy = "Find out who can write into the exchange directory, then export again on the manifest's cluster."


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """One certificate of a file; ``sha256`` is lower-case hex of its DER."""

    friendly_name: str
    sha256: str
    subject: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file: the hash of its bytes and the certificates in it."""

    sha256: str
    size: int
    certificates: tuple[CertificateRecord, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one cluster exported, or how it consolidated one type (then with ``sources``: file name to hash)."""

    cluster: str
    release: Release
    exported_at: datetime
    files: Mapping[str, FileRecord]
    sources: Mapping[str, str] = field(default_factory=dict)

    def signed(self, participant: Participant) -> bytes:
        """Write the manifest with the cluster's signature."""
        manifest = self._as_json()
        signature, certificate = participant.sign(_canonical(manifest))
        envelope = {
            "manifest": manifest,
            "certificate": certificate.pem,
            "signature": base64.b64encode(signature).decode(),
        }
        return json.dumps(envelope, indent=1, sort_keys=True).encode() + b"\n"

    def _as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "cluster": self.cluster,
            "release": str(self.release),
            "exported_at": self.exported_at.astimezone(UTC).isoformat(),
            "files": {name: _record_as_json(record) for name, record in self.files.items()},
            "sources": dict(self.sources),
        }


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest whose signature holds, and the certificate whose key made it.

    The signature binds the files to that certificate; whether the certificate is the cluster's is for the reader
    to say: compare ``fingerprint`` with what the cluster shows.
    """

    manifest: Manifest
    signer: Certificate

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the signer's certificate, lower-case hex."""
        return self.signer.sha256

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a signed manifest.

        Raise ``ManifestMalformedError`` for what is none, ``ManifestSignatureError`` when the signature fails.
        """
        try:
            envelope = json.loads(data)
            signer = Certificate.from_pem(_text(envelope["certificate"]))
            signature = base64.b64decode(_text(envelope["signature"]), validate=True)
            manifest = _manifest(envelope["manifest"])
            signed = _canonical(envelope["manifest"])
        except ManifestMalformedError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, Refusal) as error:
            told = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            raise ManifestMalformedError(f"not a manifest: {told}") from error
        _verify(signer, signature, signed, manifest.cluster)
        return cls(manifest, signer)


def digest(data: bytes) -> str:
    """Hash a file the way manifests state it: SHA-256, lower-case hex."""
    return sha256(data).hexdigest()


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _verify(signer: Certificate, signature: bytes, signed: bytes, cluster: str) -> None:
    key = signer.x509.public_key()
    if not isinstance(key, RSAPublicKey):
        raise ManifestSignatureError(f"the manifest of {cluster} names a signer without an RSA key")
    try:
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise ManifestSignatureError(f"the manifest of {cluster} was changed after it was signed") from error


def _record_as_json(record: FileRecord) -> dict[str, Any]:
    certificates = [
        {"friendly_name": entry.friendly_name, "sha256": entry.sha256, "subject": entry.subject}
        for entry in record.certificates
    ]
    return {"sha256": record.sha256, "size": record.size, "certificates": certificates}


def _manifest(value: Any) -> Manifest:
    if value["format"] != FORMAT:
        raise ManifestMalformedError(f"a manifest of format {repr(value['format'])[:80]}, not {FORMAT!r}")
    exported_at = datetime.fromisoformat(_text(value["exported_at"]))
    if exported_at.tzinfo is None:
        raise ManifestMalformedError("the manifest's time has no zone")
    exported_at = exported_at.astimezone(UTC)
    return Manifest(
        cluster=_text(value["cluster"]),
        release=Release.parse(_text(value["release"])),
        exported_at=exported_at,
        files={_text(name): _record(record) for name, record in value["files"].items()},
        sources={_text(name): _hash(text) for name, text in value["sources"].items()},
    )


def _record(value: Any) -> FileRecord:
    size = value["size"]
    if type(size) is not int or size < 0:
        raise ManifestMalformedError(f"{repr(size)[:80]} is not a file size")
    return FileRecord(_hash(value["sha256"]), size, tuple(map(_certificate_record, value["certificates"])))


def _certificate_record(value: Any) -> CertificateRecord:
    return CertificateRecord(_text(value["friendly_name"]), _hash(value["sha256"]), _text(value["subject"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ManifestMalformedError(f"{type(value).__name__} where the manifest has text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ManifestMalformedError(f"{value[:40]!a} has half a character") from error
    if "\0" in value:
        raise ManifestMalformedError(f"{value[:40]!r} has a NUL inside")
    return value


def _hash(value: Any) -> str:
    text = _text(value)
    if len(text) != _HEX_LENGTH or set(text) - set("0123456789abcdef"):
        raise ManifestMalformedError(f"{text[:80]!r} is not a SHA-256 in lower-case hex")
    return text
