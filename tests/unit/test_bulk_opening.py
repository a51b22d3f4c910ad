"""A file that asks for years of work behind its password costs a minute of another process, and no more."""

import io
import json
import os
import resource
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing

import pytest
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from certferry.bulk.opening import SECONDS, Opener, answer_all
from certferry.bulk.settings import DEFAULT_PKCS12_PASSWORD
from certferry.bulk.wrapping import BundleUnreadableError, Wrapping
from certferry.wire.pkcs12 import (
    Bundle,
    BundledCertificate,
    Pkcs12MalformedError,
    Pkcs12PasswordError,
    Pkcs12TooCostlyError,
    Profile,
    hides_its_costs,
    rounds_asked,
)
from conftest import MakeCertificate

FOR_EVER = (1 << 31) - 1
"""The most the library obeys: a quarter of an hour of work for each password."""
PBES2, PBKDF2 = bytes.fromhex("06092a864886f70d01050d"), bytes.fromhex("06092a864886f70d01050c")
AES_256_CBC = bytes.fromhex("060960864801650304012a")
DATA, ENCRYPTED = bytes.fromhex("06092a864886f70d010701"), bytes.fromhex("06092a864886f70d010706")
SHROUDED_KEY = bytes.fromhex("060b2a864886f70d010c0a0102")
SALT, IV, USUAL = b"saltsalt", b"an IV of 16 byte", 2048


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def integer(number: int) -> bytes:
    return der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def derivation(rounds: int) -> bytes:
    pbkdf2 = der(0x30, PBKDF2 + der(0x30, der(0x04, SALT) + integer(rounds)))
    return der(0x30, PBES2 + der(0x30, pbkdf2 + der(0x30, AES_256_CBC + der(0x04, IV))))


def file_with_hidden_key(rounds: int) -> bytes:
    """A file under the usual password; in its encrypted content lies a key of so many rounds."""
    key = der(0x30, derivation(rounds) + der(0x04, bytes(32)))
    safe = der(0x30, der(0x30, SHROUDED_KEY + der(0xA0, key)))
    padder = padding.PKCS7(128).padder()
    secret = PBKDF2HMAC(hashes.SHA1(), 32, SALT, USUAL).derive(DEFAULT_PKCS12_PASSWORD.encode())
    encryptor = Cipher(AES256(secret), CBC(IV)).encryptor()
    shut = encryptor.update(padder.update(safe) + padder.finalize()) + encryptor.finalize()
    content = der(0x30, integer(0) + der(0x30, DATA + derivation(USUAL) + der(0x80, shut)))
    contents = der(0x30, der(0x30, ENCRYPTED + der(0xA0, content)))
    return der(0x30, integer(3) + der(0x30, DATA + der(0xA0, der(0x04, contents))))


@pytest.fixture
def opener() -> Iterator[Opener]:
    with closing(Opener()) as opener:
        yield opener


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, int]]]:
    """What the answering process bounds itself to; it is this one here, which has to live on."""
    told: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr("resource.setrlimit", lambda what, bound: told.append((what, bound)))
    return told


@pytest.fixture
def bundle(make_certificate: MakeCertificate) -> Bundle:
    certificates = (make_certificate("CN=pub"), make_certificate("CN=京都", ec=True))
    return Bundle(tuple(BundledCertificate(each, f"name {at}") for at, each in enumerate(certificates)))


def test_what_a_file_hides_cannot_be_seen_before() -> None:
    assert rounds_asked(file_with_hidden_key(FOR_EVER)) == USUAL
    assert hides_its_costs(file_with_hidden_key(FOR_EVER))


def test_a_file_that_would_take_for_ever_is_given_up_and_the_next_is_opened(bundle: Bundle) -> None:
    with closing(Opener(seconds=0.5)) as hasty, pytest.raises(Pkcs12TooCostlyError, match=r"longer than 0\.5 seconds"):
        hasty.open(file_with_hidden_key(FOR_EVER), [DEFAULT_PKCS12_PASSWORD])
    with closing(Opener()) as patient:
        assert patient.open(bundle.encode("secret"), ["secret"]) == bundle


def test_a_process_that_was_ended_meanwhile_is_begun_anew(opener: Opener, bundle: Bundle) -> None:
    file = bundle.encode(DEFAULT_PKCS12_PASSWORD, Profile.MODERN)
    opener.open(file, [DEFAULT_PKCS12_PASSWORD])
    ended = opener._process
    assert ended is not None
    ended.kill()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert opener.open(file, [DEFAULT_PKCS12_PASSWORD]).certificates == bundle.certificates


def test_it_is_told_as_a_file_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Opener(seconds=0.5)) as hasty:
        monkeypatch.setattr("certferry.bulk.wrapping.OPENER", hasty)
        with pytest.raises(BundleUnreadableError, match=r"evil\.p12: the PKCS#12 file takes longer"):
            Wrapping().open("evil.p12", file_with_hidden_key(FOR_EVER))


@pytest.mark.parametrize("profile", Profile)
def test_whatever_is_written_is_read_in_the_other_process_too(opener: Opener, bundle: Bundle, profile: Profile) -> None:
    data = bundle.encode("secret", profile)
    assert hides_its_costs(data)
    assert opener.open(data, ["no", "secret", None]) == bundle


def test_keys_beside_certificates_are_counted(opener: Opener, bundle: Bundle, rsa_key: RSAPrivateKey) -> None:
    theirs = [entry.certificate.x509 for entry in bundle.certificates]
    data = serialize_key_and_certificates(b"k", rsa_key, None, theirs, BestAvailableEncryption(b"secret"))
    assert opener.open(data, ["secret"]).keys_ignored == 1


def test_a_wrong_password_is_told_as_one(opener: Opener, bundle: Bundle) -> None:
    with pytest.raises(Pkcs12PasswordError, match="none of 2 passwords"):
        opener.open(bundle.encode("secret"), ["no", None])


def test_what_is_no_such_file_is_told_without_another_process(opener: Opener) -> None:
    with pytest.raises(Pkcs12MalformedError):
        opener.open(b"no PKCS#12", ["x"])
    assert opener._process is None


def test_passwords_are_not_among_the_words_of_the_process(opener: Opener, bundle: Bundle) -> None:
    password = "gates-of-dawn-1967"
    opener.open(bundle.encode(password), [password])
    process = opener._process
    assert process is not None
    with open(f"/proc/{process.pid}/cmdline", "rb") as words, open(f"/proc/{process.pid}/environ", "rb") as variables:  # noqa: PTH123
        assert password.encode() not in words.read() + variables.read()
    assert os.getsid(process.pid) == process.pid  # Ctrl-C is not for it


def test_whose_asker_was_killed_does_not_work_on_for_ever(
    bundle: Bundle, bounds: list[tuple[int, tuple[int, int]]]
) -> None:
    question = {"data": b64encode(bundle.encode("secret")).decode(), "passwords": ["secret"]}
    answer_all(io.BytesIO(json.dumps(question).encode()), io.BytesIO())
    ((what, (soft, _)),) = bounds
    assert what == resource.RLIMIT_CPU
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert soft < 3 * SECONDS + used.ru_utime + used.ru_stime


def test_it_ends_with_its_last_question(bundle: Bundle) -> None:
    opener = Opener()
    opener.open(bundle.encode("secret"), ["secret"])
    process = opener._process
    assert process is not None
    opener.close()
    assert process.returncode == 0


def test_each_question_is_answered_in_a_line(bounds: list[tuple[int, tuple[int, int]]]) -> None:
    good = {"data": "", "passwords": ["secret"]}
    told = io.BytesIO()
    answer_all(io.BytesIO(json.dumps(good).encode() + b"\n" + json.dumps(good).encode() + b"\n"), told)
    first, second = map(json.loads, told.getvalue().splitlines())
    assert first == second
    assert first["refused"] == "wire.pkcs12"
    assert len(bounds) == 2, "each question has its own time"
