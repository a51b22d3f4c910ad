"""The CAs of phones: a few in memory, many in a folder, and OpenSSL lets in the same clients whichever it is."""

import fcntl
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certferry.serve import authorities
from certferry.serve.authorities import FEW, PREFIX, Authorities, AuthoritiesUnwritableError
from certferry.serve.tls import server_context
from certferry.wire.subject_hash import subject_hash

NOW = datetime.now(UTC)
LONG_AGO, IN_YEARS = NOW - timedelta(days=9000), NOW + timedelta(days=3650)
VERSION = b"\xa0\x03\x02\x01\x02"
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Paper:
    """A certificate, its key, and what stands above it."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def issue(
    common_name: str,
    by: Paper | None = None,
    *,
    authority: bool | None = None,
    until: datetime = IN_YEARS,
    key: Key | None = None,
) -> Paper:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(by.certificate.subject if by else name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(LONG_AGO).not_valid_after(until)
    if authority is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if by:  # of CAs with one name OpenSSL takes the first, unless the certificate says which
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False
        )
    return Paper(builder.sign(by.key if by else key, hashes.SHA256()), key)


def ca(common_name: str, by: Paper | None = None, until: datetime = IN_YEARS, key: Key | None = None) -> Paper:
    return issue(common_name, by, authority=True, until=until, key=key)


def of_version_1(paper: Paper, by: Paper) -> Paper:
    """The same certificate as old software made it, without version and extensions."""
    content = paper.certificate.tbs_certificate_bytes
    content = content[content.index(VERSION) + len(VERSION) :]
    key = paper.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tbs = element(0x30, content[: content.index(key) + len(key)])
    signature = by.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    der = element(0x30, tbs + algorithm + element(0x03, b"\0" + signature))
    made = x509.load_der_x509_certificate(der)
    assert made.version is x509.Version.v1
    return Paper(made, paper.key)


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = (
        bytes([size])
        if size < 0x80
        else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8)
    )
    return bytes([tag]) + length + content


def pem(paper: Paper, *chain: Paper) -> bytes:
    return b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (paper, *chain))


def key_pem(paper: Paper) -> bytes:
    return paper.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are made."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


@pytest.fixture
def held() -> Iterator[Authorities]:
    made = Authorities()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server() -> Paper:
    return issue("registrar")


@pytest.fixture(scope="module")
def crowd() -> frozenset[bytes]:
    """So many others that all go to the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    return frozenset(ca(f"other-{number}", key=key).der for number in range(FEW))


@pytest.fixture(params=["memory", "folder"])
def context_of(
    request: pytest.FixtureRequest, server: Paper, crowd: frozenset[bytes], held: Authorities
) -> Callable[..., ssl.SSLContext]:
    """Make the registrar's context for the CAs given, each way."""

    def make(*trusted: Paper, check_time: bool = False) -> ssl.SSLContext:
        others = crowd if request.param == "folder" else frozenset()
        client_ca = held.of(frozenset(each.der for each in trusted) | others)
        assert isinstance(client_ca, Path) == (request.param == "folder")
        return secure(server, client_ca, check_time=check_time)

    return make


def secure(server: Paper, client_ca: frozenset[bytes] | Path, *, check_time: bool = False) -> ssl.SSLContext:
    return server_context(pem(server), key_pem(server), client_ca=client_ca, require_client=True, check_time=check_time)


def is_let_in(context: ssl.SSLContext, client: Paper, *chain: Paper, tls: Literal["1.2", "1.3"] = "1.3") -> bool:
    """Shake hands in memory, as a phone that shows ``client`` and its chain."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
    own.maximum_version = ssl.TLSVersion.TLSv1_2 if tls == "1.2" else ssl.TLSVersion.TLSv1_3
    with NamedTemporaryFile() as identity:
        identity.write(key_pem(client) + pem(client, *chain))
        identity.flush()
        own.load_cert_chain(identity.name)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        own.wrap_bio(to_client, to_server),
        context.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(sides)
    for _ in range(8):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
            waiting.remove(side)
    assert not waiting
    return True


# --- whoever is let in from memory is let in from the folder, and nobody else


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_who_leads_to_a_ca_is_let_in_and_who_does_not_is_kept_out(
    context_of: Callable[..., ssl.SSLContext], tls: Literal["1.2", "1.3"]
) -> None:
    capf = ca("CAPF-1")
    context = context_of(capf)
    assert is_let_in(context, issue("SEP1", capf), tls=tls)
    assert not is_let_in(context, issue("SEP1", ca("CAPF-2")), tls=tls)
    assert not is_let_in(context, issue("SEP1", ca("CAPF-1")), tls=tls)  # only its name is that of the CA
    assert not is_let_in(context, issue("SEP1"), tls=tls)


def test_of_cas_with_the_same_subject_each_counts(context_of: Callable[..., ssl.SSLContext]) -> None:
    namesakes = [ca("CAPF-same") for _ in range(4)] + [ca("  capf-SAME ")]
    context = context_of(*namesakes)
    assert [is_let_in(context, issue("SEP1", each)) for each in namesakes] == [True] * 5


def test_a_ca_renewed_with_its_key_counts_beside_the_one_before(context_of: Callable[..., ssl.SSLContext]) -> None:
    before = ca("CAPF-renewed", until=NOW - timedelta(days=1))
    after = ca("CAPF-renewed", key=before.key)
    assert is_let_in(context_of(before, after, check_time=True), issue("SEP1", before))


def test_of_cas_with_the_same_hash_each_counts(context_of: Callable[..., ssl.SSLContext]) -> None:
    one, two = ca("capf-0000ac46"), ca("capf-00011120")
    assert subject_hash(one.der) == subject_hash(two.der) == "c952b9ed"
    context = context_of(one, two)
    assert is_let_in(context, issue("SEP1", one))
    assert is_let_in(context, issue("SEP1", two))


def test_a_ca_that_ran_out_counts_unless_time_is_checked(context_of: Callable[..., ssl.SSLContext]) -> None:
    expired = ca("CAPF-old", until=NOW - timedelta(days=1))
    assert is_let_in(context_of(expired), issue("SEP1", expired))
    assert not is_let_in(context_of(expired, check_time=True), issue("SEP1", expired))


def test_a_self_signed_root_of_version_1_counts_and_one_below_another_does_not(
    context_of: Callable[..., ssl.SSLContext],
) -> None:
    root = ca("CAPF-v1")
    old_root = of_version_1(root, root)
    below = of_version_1(ca("CAPF-v1-below", root), root)
    context = context_of(old_root, below)
    assert is_let_in(context, issue("SEP1", old_root))
    assert not is_let_in(context, issue("SEP1", below))


def test_a_ca_below_another_counts_by_itself(context_of: Callable[..., ssl.SSLContext]) -> None:
    root = ca("corporate root")
    capf = ca("CAPF-below", root)
    assert is_let_in(context_of(capf), issue("SEP1", capf))
    assert not is_let_in(context_of(capf), issue("SEP1", root))


def test_a_chain_that_the_client_sends_is_followed_to_the_ca(context_of: Callable[..., ssl.SSLContext]) -> None:
    root = ca("corporate root")
    between = ca("between", root)
    context = context_of(root)
    assert is_let_in(context, issue("SEP1", between), between)
    assert not is_let_in(context, issue("SEP1", between))


def test_a_certificate_that_is_no_ca_vouches_for_itself_alone(context_of: Callable[..., ssl.SSLContext]) -> None:
    for node in (issue("callmanager"), issue("callmanager-2", authority=False)):
        context = context_of(node)
        assert is_let_in(context, node)
    assert not is_let_in(context, issue("SEP1", node))


# --- what changes


def test_what_comes_and_goes_counts_from_the_next_context_on(
    held: Authorities, server: Paper, crowd: frozenset[bytes]
) -> None:
    capfs = [ca("CAPF-same") for _ in range(3)]
    for wanted in ({0}, {0, 1, 2}, {2}, {1, 2}, set(), {0, 1}):
        context = secure(server, held.of(crowd | {capfs[at].der for at in wanted}))
        assert {at for at, capf in enumerate(capfs) if is_let_in(context, issue("SEP1", capf))} == wanted


def test_a_context_made_before_finds_what_came_with_a_new_name(
    held: Authorities, server: Paper, crowd: frozenset[bytes]
) -> None:
    first, second = ca("CAPF-1"), ca("CAPF-2")
    context, generation = secure(server, held.of(crowd | {first.der})), held.generation
    assert is_let_in(context, issue("SEP1", first))
    assert not is_let_in(context, issue("SEP1", second))
    held.of(crowd | {first.der, second.der})
    assert held.generation == generation
    assert is_let_in(context, issue("SEP1", second))
    assert is_let_in(context, issue("SEP1", first))


def test_another_context_is_due_when_something_went_or_came_with_a_name_that_was_there(
    held: Authorities, crowd: frozenset[bytes]
) -> None:
    same, other = [ca("CAPF-same") for _ in range(2)], ca("CAPF-other")
    generations = []
    for trust in (
        {same[0]},
        {same[0]},
        {same[0], other},
        {same[0], same[1], other},
        {same[0], other},
        {other},
        {same[1]},
    ):
        held.of(crowd | {each.der for each in trust})
        generations.append(held.generation)
    first = generations[0]
    assert [each - first for each in generations] == [0, 0, 0, 1, 2, 3, 4]


def test_of_few_another_context_is_due_whenever_they_change(held: Authorities, crowd: frozenset[bytes]) -> None:
    few, more = frozenset({ca("CAPF-1").der}), frozenset({ca("CAPF-2").der, ca("CAPF-3").der})
    generations = []
    for trust in (few, few, few | more, few, crowd | more, crowd | more, few, frozenset[bytes](), frozenset[bytes]()):
        held.of(trust)
        generations.append(held.generation)
    first = generations[0]
    assert [each - first for each in generations] == [0, 0, 1, 2, 3, 3, 4, 5, 5]


def test_a_context_made_before_goes_on_with_what_stayed(
    held: Authorities, server: Paper, crowd: frozenset[bytes]
) -> None:
    stays, goes = ca("CAPF-stays"), ca("CAPF-goes")
    before = secure(server, held.of(crowd | {stays.der, goes.der}))
    held.of(crowd | {stays.der})
    assert is_let_in(before, issue("SEP1", stays))


def test_the_folder_has_a_name_for_each_hash_and_nothing_else(held: Authorities, crowd: frozenset[bytes]) -> None:
    same = {ca("CAPF-same").der for _ in range(3)}
    folder = held.of(crowd | same)
    assert isinstance(folder, Path)
    assert {path.name for path in folder.iterdir()} == {f"{subject_hash(der)}.0" for der in crowd | same}
    for der in crowd | same:
        assert ssl.DER_cert_to_PEM_cert(der) in folder.joinpath(f"{subject_hash(der)}.0").read_text()


def test_what_went_is_in_no_file_any_more(held: Authorities, crowd: frozenset[bytes]) -> None:
    gone = {ca(f"CAPF-{number}").der for number in range(20)}
    held.of(crowd | gone)
    folder = held.of(crowd | set(list(gone)[:1]))
    assert isinstance(folder, Path)
    written = {path.read_text() for path in folder.iterdir()}
    stayed = crowd | set(list(gone)[:1])
    assert sorted(der for text in written for der in certificates_in(text)) == sorted(stayed)


def certificates_in(text: str) -> list[bytes]:
    return [each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(text.encode())]


def test_a_ca_that_went_is_not_believed_when_its_neighbours_in_the_file_are_looked_up(
    held: Authorities, server: Paper, crowd: frozenset[bytes]
) -> None:
    neighbours = [ca(f"CAPF-{number}") for number in range(authorities.TOGETHER * 2)]
    everybody = crowd | {each.der for each in neighbours}
    held.of(everybody)
    gone = neighbours[3]
    context = secure(server, held.of(everybody - {gone.der}))
    assert {each for each in neighbours if is_let_in(context, issue("SEP1", each))} == set(neighbours) - {gone}
    assert not is_let_in(context, issue("SEP1", gone))


def test_only_what_changed_is_written_again(held: Authorities, crowd: frozenset[bytes]) -> None:
    first, fresh = ca("CAPF-1").der, ca("CAPF-2").der
    folder = held.of(crowd | {first})
    assert isinstance(folder, Path)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    held.of(crowd | {first, fresh})
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    changed = [name for name in before if after[name] != before[name]]
    assert after.keys() - before.keys() == {f"{subject_hash(fresh)}.0"}
    assert len(changed) <= 2 * authorities.TOGETHER < len(before)


def test_what_openssl_could_not_read_is_left_out(held: Authorities, server: Paper, crowd: frozenset[bytes]) -> None:
    capf = ca("CAPF-1")
    context = secure(server, held.of(crowd | {capf.der, b"\x30\x03no!"}))
    assert is_let_in(context, issue("SEP1", capf))


# --- the folder itself


def test_nobody_else_can_look_into_the_folder(held: Authorities, crowd: frozenset[bytes]) -> None:
    folder = held.of(crowd | {ca("CAPF-1").der})
    assert isinstance(folder, Path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_few_need_no_folder_and_what_shrinks_to_few_needs_it_no_more(
    held: Authorities, crowd: frozenset[bytes], temporary: Path
) -> None:
    assert held.of(crowd) == crowd
    assert not list(temporary.iterdir())
    held.of(crowd | {ca("CAPF-1").der})
    assert list(temporary.iterdir())
    assert held.of(crowd) == crowd
    assert not list(temporary.iterdir())


def test_the_folder_goes_when_it_is_closed_and_comes_anew(
    held: Authorities, crowd: frozenset[bytes], temporary: Path
) -> None:
    many = crowd | {ca("CAPF-1").der}
    first = held.of(many)
    held.close()
    held.close()
    assert not list(temporary.iterdir())
    second = held.of(many)
    assert isinstance(second, Path)
    assert second != first
    assert len(list(second.iterdir())) == len(many)


def test_a_process_that_ends_without_closing_it_leaves_no_folder(temporary: Path) -> None:
    code = (
        "from certferry.serve import authorities; authorities.FEW = -1;"
        "held = authorities.Authorities(); print(held.of(frozenset()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.startswith(str(temporary / PREFIX))
    assert not list(temporary.iterdir())


def left_behind(temporary: Path, name: str) -> Path:
    folder = temporary / f"{PREFIX}{name}"
    folder.mkdir()
    folder.joinpath("12345678.0").touch()
    os.utime(folder, (0, 0))
    return folder


def test_a_folder_whose_process_was_killed_is_removed_by_the_next(
    held: Authorities, crowd: frozenset[bytes], temporary: Path
) -> None:
    killed, used, fresh = (left_behind(temporary, name) for name in ("killed", "used", "fresh"))
    lock = os.open(used, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.utime(fresh)
    held.of(crowd | {ca("CAPF-1").der})
    os.close(lock)
    assert (killed.exists(), used.exists(), fresh.exists()) == (False, True, True)


def test_a_link_that_is_called_like_a_folder_is_not_followed(
    held: Authorities, crowd: frozenset[bytes], temporary: Path, tmp_path: Path
) -> None:
    elsewhere = left_behind(tmp_path, "elsewhere")
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    held.of(crowd | {ca("CAPF-1").der})
    assert elsewhere.joinpath("12345678.0").exists()


def test_while_it_is_used_it_is_locked_so_that_nobody_tidies_it_up(held: Authorities, crowd: frozenset[bytes]) -> None:
    folder = held.of(crowd | {ca("CAPF-1").der})
    assert isinstance(folder, Path)
    lock = os.open(folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


@pytest.mark.parametrize("steps", [0, 1, 10, 17, 30])
def test_a_folder_that_cannot_be_written_is_told_and_tried_again(
    held: Authorities, server: Paper, crowd: frozenset[bytes], monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    capfs, goes = [ca(f"CAPF-{number}") for number in range(40)], ca("CAPF-goes")
    held.of(crowd | {goes.der})
    with monkeypatch.context() as patched:
        left, link = iter(range(steps)), os.link

        def full(*paths: str) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            link(*paths)

        patched.setattr("os.link", full)
        with pytest.raises(AuthoritiesUnwritableError, match="No space left"):
            held.of(crowd | {each.der for each in capfs})
    context = secure(server, held.of(crowd | {each.der for each in capfs}))
    assert all(is_let_in(context, issue("SEP1", each)) for each in capfs)
    assert not is_let_in(context, issue("SEP1", goes))


def test_without_any_folder_to_write_in_it_is_told(
    held: Authorities, crowd: frozenset[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(AuthoritiesUnwritableError, match="missing"):
        held.of(crowd | {ca("CAPF-1").der})
