"""Secrets at rest: what the key file protects, and which key files are refused."""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.cluster import Cluster
from certferry.cluster.issuing import PrivateKey
from certferry.cluster.sealing import Seal, SealError
from certferry.trust.purpose import Purpose
from conftest import MakeCluster

SECRET = b"the private key of a publisher"


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    return Seal.create(tmp_path / "seal.key")


def test_what_was_sealed_opens_in_its_context(seal: Seal) -> None:
    assert seal.open(seal.seal(SECRET, "key TVS pub"), "key TVS pub") == SECRET


def test_a_key_file_read_again_opens_what_it_sealed(seal: Seal, tmp_path: Path) -> None:
    sealed = seal.seal(SECRET, "here")
    assert Seal.load(tmp_path / "seal.key").open(sealed, "here") == SECRET


def test_nothing_of_the_secret_shows_in_what_is_sealed(seal: Seal) -> None:
    sealed = seal.seal(SECRET, "here")
    assert len(sealed) == 12 + len(SECRET) + 16
    assert not any(SECRET[i : i + 4] in sealed for i in range(len(SECRET) - 3))


def test_the_same_secret_is_never_sealed_alike(seal: Seal) -> None:
    assert len({seal.seal(SECRET, "here") for _ in range(50)}) == 50


def test_a_sealed_value_does_not_open_in_anothers_place(seal: Seal) -> None:
    with pytest.raises(SealError, match="does not open key TVS sub"):
        seal.open(seal.seal(SECRET, "key TVS pub"), "key TVS sub")


@pytest.mark.parametrize("position", [0, 11, 12, 30, -1])
def test_a_sealed_value_changed_in_one_bit_does_not_open(seal: Seal, position: int) -> None:
    sealed = bytearray(seal.seal(SECRET, "here"))
    sealed[position] ^= 1
    with pytest.raises(SealError):
        seal.open(bytes(sealed), "here")


@pytest.mark.parametrize("length", [0, 5, 12, 27])
def test_a_sealed_value_cut_short_does_not_open(seal: Seal, length: int) -> None:
    with pytest.raises(SealError):
        seal.open(seal.seal(b"", "here")[:length], "here")


def test_the_error_repeats_neither_the_secret_nor_the_key(seal: Seal, tmp_path: Path) -> None:
    with pytest.raises(SealError) as caught:
        seal.open(seal.seal(SECRET, "here"), "there")
    assert SECRET.decode() not in str(caught.value)
    assert (tmp_path / "seal.key").read_bytes().hex() not in repr(caught.value)


# --- the key file


def test_a_key_file_is_32_random_bytes_for_its_owner_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Seal.create(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "one").read_bytes()) == 32
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    Seal.create(tmp_path / "seal.key")
    before = (tmp_path / "seal.key").read_bytes()
    with pytest.raises(SealError, match="exists already"):
        Seal.create(tmp_path / "seal.key")
    assert (tmp_path / "seal.key").read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o660])
def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "seal.key"
    Seal.create(path)
    path.chmod(mode)
    with pytest.raises(SealError, match="can be read by others") as caught:
        Seal.load(path)
    assert caught.value.remedy == f"Run: chmod 600 {path}"


@pytest.mark.parametrize("content", [b"", b"k" * 31, b"k" * 33])
def test_a_key_file_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seal.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(SealError, match=f"{len(content)} bytes instead of 32"):
        Seal.load(path)


def test_a_key_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="cannot read the key file"):
        Seal.load(tmp_path / "seal.key")


# --- a cluster's secrets


def database_bytes(cluster: Cluster) -> bytes:
    """Everything of the database that is on disk, the log of the latest writes included."""
    return b"".join(path.read_bytes() for path in sorted(cluster.location.folder.glob("cluster.sqlite*")))


def traces(key: PrivateKey) -> list[bytes]:
    """What would show of a private key: its numbers, and every form in which one is usually written."""
    numbers = key.private_numbers()
    secret = (
        [numbers.d, numbers.p, numbers.q] if isinstance(numbers, rsa.RSAPrivateNumbers) else [numbers.private_value]
    )
    forms = [
        key.private_bytes(encoding, form, NoEncryption())
        for encoding in (Encoding.DER, Encoding.PEM)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    ]
    return [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in secret] + forms


def test_no_private_key_stands_in_the_database_file(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=2)
    cluster.regenerate(Purpose.CALLMANAGER)
    cluster.request_certificate(Purpose.TOMCAT)
    data = database_bytes(cluster)
    keys = [cluster.private_key(identity) for identity in cluster.identities()]
    assert {type(key.public_key()).__name__ for key in keys} == {"RSAPublicKey", "ECPublicKey"}
    assert not [trace for key in keys for trace in traces(key) if trace in data]
    assert b"PRIVATE KEY" not in data


def test_no_key_of_a_waiting_csr_stands_in_the_database_file(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    used: list[PrivateKey] = []

    class Remembered:
        def rsa(self, bits: int) -> rsa.RSAPrivateKey:
            used.append(rsa.generate_private_key(65537, bits))
            return used[-1]  # type: ignore[return-value]

        def ec(self) -> ec.EllipticCurvePrivateKey:
            raise NotImplementedError

    Cluster(cluster.location, keys=Remembered()).request_certificate(Purpose.CALLMANAGER)
    data = database_bytes(cluster)
    assert len(used) == 1
    assert not [trace for key in used for trace in traces(key) if trace in data]


def test_every_certificates_key_is_the_one_that_it_names(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=2)
    for identity in cluster.identities():
        assert cluster.private_key(identity).public_key() == identity.certificate.x509.public_key()


def test_the_key_file_of_another_cluster_is_refused_before_anything_is_sealed_with_it(
    make_cluster: MakeCluster,
) -> None:
    mine, other = make_cluster("mine", nodes=1), make_cluster("other", nodes=1)
    mine.location.key_file.write_bytes(other.location.key_file.read_bytes())
    with pytest.raises(SealError, match="the key file does not open"):
        Cluster.open(mine.location.folder)


def test_a_cluster_whose_key_file_others_can_read_is_not_opened(make_cluster: MakeCluster) -> None:
    location = make_cluster(nodes=1).location
    location.key_file.chmod(0o644)
    with pytest.raises(SealError, match=re.escape(str(location.key_file))):
        Cluster.open(location.folder)


def test_a_secret_setting_opens_again_and_does_not_stand_in_the_database(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_setting("bulk.password", "tr0ub4dor&3", secret=True)
    cluster.set_setting("bulk.host", "sftp.example.com")
    data = database_bytes(cluster)
    assert b"sftp.example.com" in data
    assert b"tr0ub4dor&3" not in data
    opened = Cluster.open(cluster.location.folder)
    assert opened.setting("bulk.password") == "tr0ub4dor&3"
    assert opened.setting("bulk.host") == "sftp.example.com"


def test_settings_that_belong_together_are_kept_all_or_none(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.put_settings({"bulk.host": "old.example.com"}, {"bulk.password": "first"})
    with pytest.raises(AttributeError):
        cluster.put_settings({"bulk.host": "new.example.com"}, {"bulk.password": 5})  # type: ignore[dict-item]
    told = cluster.settings(["bulk.host", "bulk.password", "bulk.port"])
    assert told == {"bulk.host": "old.example.com", "bulk.password": "first"}


def test_a_setting_that_becomes_secret_leaves_no_open_copy_in_its_row(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_setting("bulk.password", "first", secret=False)
    cluster.set_setting("bulk.password", "second", secret=True)
    assert cluster.setting("bulk.password") == "second"
    cluster.set_setting("bulk.password", "third", secret=False)
    assert cluster.setting("bulk.password") == "third"


def test_a_setting_taken_away_is_as_if_never_set(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_setting("bulk.password", "secret", secret=True)
    cluster.set_setting("bulk.password", None, secret=True)
    cluster.set_setting("bulk.host", None)
    assert cluster.setting("bulk.password") is None
    assert cluster.setting("bulk.host") is None


def test_secrets_stand_neither_in_the_audit_log_nor_in_the_history(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(nodes=1)
    cluster.set_setting("bulk.password", "tr0ub4dor&3", secret=True)
    cluster.regenerate(Purpose.TVS)
    told = "\n".join(cluster.audit_lines()) + repr(cluster.history())
    assert "tr0ub4dor&3" not in told
    assert "PRIVATE" not in told
