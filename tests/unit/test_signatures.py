"""Signatures that are made once: kept, shared between processes, and never believed when damaged."""

import errno
import os
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.serve.signatures import Signature, Signatures, Signer
from certferry.wire.certificate import Certificate
from certferry.wire.signed_file import SignedFile
from certferry.wire.signed_header import Digest
from conftest import MakeCertificate

KEY = bytes(range(32))
KEPT = Signature(1_780_000_000, b"s" * 256)


def opened(path: Path) -> Signatures:
    signatures = Signatures(path)
    signatures.open()
    return signatures


@pytest.fixture
def signer_of(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> "SignerMaker":
    return SignerMaker(make_certificate(), rsa_key)


class SignerMaker:
    def __init__(self, certificate: Certificate, key: rsa.RSAPrivateKey) -> None:
        self.certificate, self.key = certificate, key

    def __call__(self, signatures: Signatures, timestamp: int = 1, digest: Digest = Digest.SHA1) -> Signer:
        return Signer(self.certificate, self.key, digest, timestamp, signatures)


# --- the file


def test_what_is_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    opened(tmp_path / "kept").add(KEY, KEPT)
    assert opened(tmp_path / "kept").find(KEY) == KEPT


def test_what_one_process_adds_the_others_find_while_they_run(tmp_path: Path) -> None:
    one, two = opened(tmp_path / "kept"), opened(tmp_path / "kept")
    assert two.find(KEY) is None
    one.add(KEY, KEPT)
    assert two.find(KEY) == KEPT
    two.add(bytes(32), KEPT)
    assert one.find(bytes(32)) == KEPT


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    opened(tmp_path / "kept")
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("at", [0, 35, 40, 200, 297])
def test_a_damaged_record_is_not_believed(tmp_path: Path, at: int) -> None:
    opened(tmp_path / "kept").add(KEY, KEPT)
    data = bytearray((tmp_path / "kept").read_bytes())
    data[at] ^= 1
    (tmp_path / "kept").write_bytes(data)
    again = opened(tmp_path / "kept")
    assert again.find(KEY) is None
    assert again.find(bytes(data[:32])) is None


def test_half_a_record_is_waited_for(tmp_path: Path) -> None:
    opened(tmp_path / "whole").add(KEY, KEPT)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "kept").write_bytes(data[:100])
    signatures = opened(tmp_path / "kept")
    assert signatures.find(KEY) is None
    with (tmp_path / "kept").open("ab") as file:
        file.write(data[100:])
    assert signatures.find(KEY) == KEPT


def test_a_write_that_was_cut_short_hides_nothing_that_is_added_later(tmp_path: Path) -> None:
    opened(tmp_path / "kept").add(bytes(32), KEPT)
    whole = (tmp_path / "kept").read_bytes()
    (tmp_path / "kept").write_bytes(whole + whole[:100])
    one, two = opened(tmp_path / "kept"), opened(tmp_path / "kept")
    one.add(KEY, KEPT)
    assert two.find(KEY) == KEPT
    again = opened(tmp_path / "kept")
    assert (again.find(bytes(32)), again.find(KEY)) == (KEPT, KEPT)


def test_a_file_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"something else " * 1000)
    opened(tmp_path / "kept").add(KEY, KEPT)
    assert opened(tmp_path / "kept").find(KEY) == KEPT
    assert (tmp_path / "kept").stat().st_size < 1000


def test_the_file_is_not_closed_under_a_thread_that_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signatures = opened(tmp_path / "kept")
    closing = threading.Thread(target=signatures.close)

    def write(file: int, _data: bytes) -> int:
        closing.start()
        closing.join(0.1)
        os.fstat(file)  # raises when its number is free for a phone's connection
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("certferry.serve.signatures.os.write", write)
    signatures.add(KEY, KEPT)
    closing.join()
    assert signatures.find(KEY) == KEPT


def test_a_file_that_grew_too_large_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path / "kept").add(KEY, KEPT)
    monkeypatch.setattr("certferry.serve.signatures.LARGEST", 100)
    assert opened(tmp_path / "kept").find(KEY) is None
    assert (tmp_path / "kept").stat().st_size == 0


def test_where_no_file_can_be_signatures_are_kept_in_memory(tmp_path: Path) -> None:
    signatures = opened(tmp_path / "none" / "kept")
    signatures.add(KEY, KEPT)
    assert signatures.find(KEY) == KEPT


def test_nothing_is_written_after_closing(tmp_path: Path) -> None:
    signatures = opened(tmp_path / "kept")
    signatures.close()
    signatures.close()
    signatures.add(KEY, KEPT)
    assert (tmp_path / "kept").read_bytes() == b""


# --- what is signed with them


def test_a_file_is_signed_once_and_the_same_for_everybody(tmp_path: Path, signer_of: SignerMaker) -> None:
    first = signer_of(opened(tmp_path / "kept"), timestamp=1).sign("SEP0011223344AA.cnf.xml", b"<device/>")
    again = signer_of(opened(tmp_path / "kept"), timestamp=2).sign("SEP0011223344AA.cnf.xml", b"<device/>")
    assert again == first
    assert SignedFile.parse(first).verify(signer_of.certificate)
    assert SignedFile.parse(first).header.timestamp == 1


def test_another_name_content_digest_or_signer_is_another_signature(
    tmp_path: Path, signer_of: SignerMaker, make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    signatures = opened(tmp_path / "kept")
    other = SignerMaker(make_certificate(key=other_rsa_key), other_rsa_key)
    files = [
        (signer_of.certificate, signer_of(signatures).sign("a.cnf.xml", b"1")),
        (signer_of.certificate, signer_of(signatures).sign("b.cnf.xml", b"1")),
        (signer_of.certificate, signer_of(signatures).sign("a.cnf.xml", b"2")),
        (signer_of.certificate, signer_of(signatures, digest=Digest.SHA512).sign("a.cnf.xml", b"1")),
        (other.certificate, other(signatures).sign("a.cnf.xml", b"1")),
    ]
    assert len({data for _, data in files}) == 5
    assert all(SignedFile.parse(data).verify(certificate) for certificate, data in files)
