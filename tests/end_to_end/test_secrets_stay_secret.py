"""Passwords, tokens and private keys of a cluster, looked for everywhere something of it is written or told."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.cluster import Cluster
from certferry.lab.keys import PooledKeys
from command_line import Background, certferry, loopback_cluster
from sftp_servers import lab_sftp
from web_site import Site

SECRETS = {name: f"{name}-Th1s-0ught-n0t-be-s33n" for name in ("sftp", "pkcs12", "web", "backup", "wrong")}
FILLED = {"{sha256}": "0" * 64, "{purpose}": "tomcat", "{store}": "tomcat-trust", "{kind}": "ITL"}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A folder for each secret's file, and one for whatever is written in passing."""
    made = {name: tmp_path / "kept" / name for name in SECRETS}
    (tmp_path / "kept").mkdir()
    (tmp_path / "passing").mkdir()
    for name, path in made.items():
        path.write_text(SECRETS[name] + "\n")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "passing"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return made


@pytest.fixture
def told(
    tmp_path: Path, key_pool: PooledKeys, places: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> Iterator[tuple[Cluster, dict[str, bytes]]]:
    """What commands said, refused ones too, and what they wrote into the log at its most talkative."""
    caplog.set_level(logging.DEBUG)
    loopback_cluster(tmp_path / "source", key_pool, secure=True).close()
    said: dict[str, bytes] = {}

    def run(*words: object) -> None:
        ended = certferry("--cluster", tmp_path / "source", *words)
        said[" ".join(map(str, words))] = (ended.stdout + ended.stderr).encode()

    with closing(Background()) as loop, loop.entered(lab_sftp(tmp_path / "sftp", "ferry", SECRETS["sftp"])) as server:
        host, port = server.address
        at = ["--host", host, "--port", port, "--user", "ferry", "--directory", "/exchange"]
        own = ["--pkcs12-password-file", places["pkcs12"], "--known-hosts", tmp_path / "known"]
        for json in ([], ["--json"]):
            run("bulk", "sftp", *at, *own, "--password-file", places["wrong"], "--accept-new-host-key", *json)
            run("bulk", "sftp", *at, *own, "--password-file", places["sftp"], "--accept-new-host-key", *json)
            run("bulk", "export", *json)
            run("bulk", "list", *json)
            run("bulk", "consolidate", *json)
            run("bulk", "import", "--pkcs12-password-file", places["wrong"], *json)
            run("web", "user", "add", "ann", "--role", "operator", "--password-file", places["web"], *json)
            run("web", "user", "list", *json)
            run("cert", "list", *json)
            run("cert", "show", "tomcat", *json)
            run("cert", "csr", "tomcat", "--to", tmp_path / f"csr{len(said)}", *json)
            run("cert", "regenerate", "tomcat", "--yes", *json)
            run("audit", "show", *json)
            run("cluster", "show", *json)
            backup = tmp_path / f"backup{len(said)}"
            run("cluster", "backup", backup, "--passphrase-file", places["backup"], *json)
            run("cluster", "restore", backup, "--passphrase-file", places["wrong"], *json)
            run("bulk", "export", "--password-file", SECRETS["sftp"], *json)  # a slip: refused, but not repeated
    said["the log"] = caplog.text.encode()
    with closing(Cluster.open(tmp_path / "source")) as cluster:
        yield cluster, said


def needles(cluster: Cluster) -> dict[str, bytes]:
    """What nobody may find: the words, and each private key as bytes, as hex, and as lines of PEM."""
    found = {name: text.encode() for name, text in SECRETS.items()}
    for identity in cluster.identities():
        key, name = cluster.private_key(identity), f"{identity.purpose} of {identity.node}"
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        numbers: Any = key.private_numbers()
        number = getattr(numbers, "d", None) or numbers.private_value
        secret = number.to_bytes((number.bit_length() + 7) // 8, "big")[:24]
        found |= {name: secret, f"{name} in hex": secret.hex().encode()}
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            lines = key.private_bytes(Encoding.PEM, form, NoEncryption()).splitlines()
            found[f"{name} as {form}"] = lines[-3 if len(lines) > 4 else 1]  # behind what is public
    return found


def found_in(text: bytes, what: dict[str, bytes]) -> list[str]:
    return [name for name, needle in what.items() if needle in text or needle.upper() in text]


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything that was written, but for what a secret came from and for the key to the sealed ones."""
    places = [folder / name for name in ("source", "sftp", "passing")]
    files = [*folder.glob("*"), *(path for place in places for path in place.rglob("*"))]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.is_file() and f.name != "seal.key"}


@pytest.mark.slow
async def test_no_secret_is_told_or_written_where_others_read(
    tmp_path: Path, told: tuple[Cluster, dict[str, bytes]]
) -> None:
    cluster, said = told
    what = needles(cluster)
    site = Site(cluster)
    what["a token"] = site.token().encode()
    what["a token's secret"] = what["a token"].split(b"_", 2)[2]  # which may hold underscores
    async with site.logged_in() as ann:
        for path, methods in site.app.openapi()["paths"].items():
            if "get" in methods:
                for sign, value in FILLED.items():
                    path = path.replace(sign, value)  # noqa: PLW2901 -- filled in
                said[f"GET {path}"] = (await ann.get(path)).content
        for name in ("/show/cluster", "/bulk", "/security/certificates", "/history", "/audit", "/tokens", "/metrics"):
            said[f"GET {name}"] = (await ann.get(name)).content
    cluster.close()
    said |= files_of(tmp_path)
    leaks = {name: leaked for name, text in said.items() if (leaked := found_in(text, what))}
    assert leaks == {}
    assert not any(name.startswith("passing") for name in said)
    assert open_to_others(tmp_path) == {}


def open_to_others(folder: Path) -> dict[str, str]:
    """What holds secrets, sealed or not, and somebody else may read."""
    kept = [*(folder / "source").rglob("*"), *folder.glob("backup*")]
    assert len(kept) >= 4
    return {file.name: oct(mode) for file in kept if (mode := file.stat().st_mode & 0o077)}
