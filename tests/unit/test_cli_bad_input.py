"""Whatever is typed or named, a command ends with one sentence and a documented code; nobody sees a traceback."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certferry.lab.keys import PooledKeys
from command_line import Ended, certferry, loopback_cluster

pytestmark = pytest.mark.slow

CODES = {0, 1, 2, 3, 4, 5, 6}
NOUNS = {
    "cluster": ["create", "show", "set"],
    "cert": ["list", "show", "regenerate", "csr", "upload", "delete", "download"],
    "phone": ["add", "list", "remove", "import", "reset"],
    "bulk": ["sftp", "export", "list", "consolidate", "import", "undo", "history", "remove-cluster"],
    "trustlist": ["show", "verify"],
    "tvs": ["ask"],
    "audit": ["show", "verify"],
    "nonsense": [""],
}
OPTIONS = [
    "--node", "--release", "--secure", "--store", "--purpose", "--yes", "--plan", "--port", "--host", "--user",
    "--directory", "--password-file", "--trusted", "--query", "--device", "--timeout", "--model", "--group", "--to",
    "--der", "--expiring", "--san", "--expect", "--foreign", "--profile", "--wait", "--known-hosts", "--client-key",
]  # fmt: skip
VALUES = [
    "tomcat", "CallManager", "ITLRecovery", "Phone-SAST-trust", "source-pub", "source-sub1", "SEP001122334455", "-1",
    "0", "65536", "1e309", "nan", "", ".", "/", "/dev/null/at/all", "/dev/null", "a=1.2.3.4:publisher", "11.5.1", "9.9",
    "rollback-to-pre-8.0", "port.source-pub.tftp", "group.Default", "127.0.0.1:1", "[::1", "tftp://", "http://[", "all",
    "CLUSTER=00", "FILE=X:tftp", "[/bold]", "\\[x", ":b:", "\x1b[31m", "\u202e", "\udcff", "%s%n", "'", '"', "😀",
]  # fmt: skip


NEARLY_RIGHT = [
    "cluster create {} --release 14 --node a=192.0.2.1:publisher,tftp,tvs --cluster {}",
    "cluster create x --release {} --node {} --cluster new",
    "cluster create x --release 12.5.1 --node {}=192.0.2.1:publisher --organisation {} --unit {} --cluster new",
    "cluster set {} {}",
    "cluster set port.{}.{} {}",
    "cluster set group.{} {}",
    "cert show {} --node {}",
    "cert show {} --store Phone-SAST-trust",
    "cert download {} --to {}",
    "cert download tomcat --to {}",
    "cert regenerate {} --yes",
    "cert csr tomcat --node {} --san {} --to -",
    "cert csr tomcat --san {}",
    "cert upload {} --store {} --description {}",
    "cert upload {} --purpose tomcat --yes",
    "cert delete {} --store CallManager-trust --yes",
    "cert list --node {} --expiring {}",
    "phone add {} --model {} --group {}",
    "phone add SEP001122334455 --group {} --model {}",
    "phone remove {}",
    "phone import {}",
    "bulk sftp --host {} --port {} --user {} --directory {} --password-file {}",
    "bulk undo {} --yes",
    "bulk import {} --plan --expect {} --foreign {}",
    "bulk export {} --profile {} --wait {}",
    "bulk remove-cluster {} --yes",
    "trustlist show {}",
    "trustlist verify {} --trusted {}",
    "tvs ask 127.0.0.1:1 {} --device {} --timeout {}",
    "tvs ask {} certificate.pem --device {} --timeout 1",
    "sign {} --key {} --name {}",
    "sign certificate.pem --key {} --to {}",
    "unsign {} --certificate {} --to {}",
    "audit {}",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> Path:
    made = tmp_path_factory.mktemp("bad-input")
    loopback_cluster(made / "cluster", key_pool).close()
    return made


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # commands may create what they are told to
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CERTFERRY_CLUSTER", raising=False)


def check(ended: Ended) -> None:
    assert ended.code in CODES
    assert "Traceback" not in ended.stderr
    assert "cli.unforeseen" not in ended.stderr, ended.stderr
    if ended.code in {1, 2}:
        assert ended.stderr.strip()


words = st.lists(st.sampled_from(OPTIONS) | st.sampled_from(VALUES) | st.text(max_size=8), max_size=5)
without_nul = words.map(lambda texts: [text.replace("\0", "") for text in texts])
commands = st.sampled_from([(noun, verb) for noun, verbs in NOUNS.items() for verb in verbs])


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(command=commands, rest=without_nul, as_json=st.booleans())
def test_any_words_end_in_a_documented_code(
    folder: Path, command: tuple[str, str], rest: list[str], as_json: bool
) -> None:
    rest = [word for word in rest if word not in {"-h", "--help"}]
    ended = certferry("--cluster", folder / "cluster", *(["--json"] if as_json else []), *command, *rest)
    check(ended)
    if as_json:
        assert isinstance(ended.json, dict)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data(), template=st.sampled_from(NEARLY_RIGHT))
def test_a_command_right_but_for_a_word_ends_in_a_documented_code(
    folder: Path, tmp_path: Path, data: st.DataObject, template: str
) -> None:
    made = tmp_path / "certificate.pem"
    made.write_text(certferry("cert", "download", "tomcat", "--cluster", folder / "cluster").stdout)
    value = st.sampled_from([*VALUES, "certificate.pem"]) | st.text(max_size=8).map(lambda text: text.replace("\0", ""))
    words = [data.draw(value).join(word.split("{}", 1)) if "{}" in word else word for word in template.split()]
    words = [word.replace("{}", "x") for word in words]
    ended = certferry("--cluster", folder / "cluster", *words, "--json")
    check(ended)
    assert ended.stdout == "" or isinstance(ended.json, dict)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: b"-----BEGIN CERTIFICATE-----\n" + rest))
def test_any_bytes_in_a_file_end_in_a_sentence(folder: Path, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    at = ["--cluster", folder / "cluster"]
    for command in (
        ["trustlist", "show", file],
        ["trustlist", "verify", file, "--trusted", file],
        ["tvs", "ask", "127.0.0.1:1", file],
        ["cert", "upload", file, "--store", "tomcat-trust", *at],
        ["cert", "upload", file, "--purpose", "tomcat", "--yes", *at],
        ["phone", "import", file, *at],
    ):
        check(certferry(*command))


PLACES = {
    "a file that is not there": "nowhere",
    "a directory": ".",
    "a device without end": "/dev/zero",
    "an empty file": "/dev/null",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("command", ["trustlist show", "trustlist verify", "cert upload --store tomcat-trust"])
def test_a_file_that_cannot_be_is_refused_by_name(folder: Path, command: str, place: str) -> None:
    at = ["--cluster", folder / "cluster"] if command.startswith("cert") else []
    ended = certferry(*command.split(), place, *at, "--json")
    assert ended.code == 1
    assert ended.error["sentence"]


def test_an_unreadable_file_is_refused() -> None:
    # Opens for its owner and fails when read, for root too.
    assert certferry("trustlist", "show", "/proc/self/mem", "--json").error["code"] == "cli.file-unreadable"


UNUSABLE_CLUSTERS = {
    "not there": ("missing", "cluster.missing"),
    "a file": ("file", "cluster.location"),
    "an empty folder": ("empty", "cluster.missing"),
    "a folder with something else": ("foreign", "cluster.database-foreign"),
    "a URL with a password": ("postgresql://user:secret@host/db", "cluster.password-in-url"),
    "another kind of database": ("mysql://user:secret@host/db", "cluster.location"),
}


@pytest.mark.parametrize(("place", "code"), UNUSABLE_CLUSTERS.values(), ids=UNUSABLE_CLUSTERS.keys())
def test_a_place_without_a_cluster_is_refused(tmp_path: Path, place: str, code: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for name in ("empty", "foreign"):
        (tmp_path / name).mkdir()
    (tmp_path / "foreign" / "cluster.sqlite").write_bytes(b"not a database" * 100)
    ended = certferry("cluster", "show", "--cluster", place, "--json")
    assert (ended.code, ended.error["code"]) == (1, code)
    assert "secret" not in ended.stdout + ended.stderr


def test_a_cluster_below_a_file_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    words = ["cluster", "create", "x", "--release", "14", "--node", "a=192.0.2.1:publisher,tftp"]
    ended = certferry(*words, "--cluster", tmp_path / "file" / "below", "--json")
    assert ended.code == 1
    assert str(tmp_path / "file") in ended.error["sentence"]


BAD_CSV = {
    "no columns": ("", 2),
    "no device column": ("model,group\n8861,Default\n", 2),
    "not a MAC": ("device\nSEP00\n", 2),
    "an unknown group": ("device,group\nSEP001122334455,Nowhere\n", 2),
    "an endless field": ('device,description\nSEP001122334455,"' + "x" * 200_000, 2),
}


@pytest.mark.parametrize(("text", "code"), BAD_CSV.values(), ids=BAD_CSV.keys())
def test_a_bad_csv_adds_no_phone_at_all(folder: Path, tmp_path: Path, text: str, code: int) -> None:
    (tmp_path / "phones.csv").write_text(text)
    at = ["--cluster", folder / "cluster"]
    assert certferry("phone", "import", tmp_path / "phones.csv", *at).code == code
    assert certferry("phone", "list", *at, "--json").json == {"phones": []}


def test_a_csv_in_another_encoding_is_refused_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_bytes("device,description\nSEP001122334455,受付\n".encode("shift-jis"))
    ended = certferry("phone", "import", tmp_path / "phones.csv", "--cluster", folder / "cluster", "--json")
    assert (ended.code, ended.error["code"]) == (1, "cli.file-unreadable")
    assert "UTF-8" in ended.error["remedy"]


def test_a_refusal_without_json_says_nothing_on_standard_output() -> None:
    ended = certferry("trustlist", "show", "nowhere")
    assert ended.stdout == ""
    assert [line.split()[0] for line in ended.stderr.splitlines()] == ["refused", "next"]


def test_a_defect_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_text: str) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr("certferry.cli.trustlist.read_trust_list", broken)
    ended = certferry("trustlist", "show", "x", "--json")
    assert ended.code == 1
    assert ended.error["code"] == "cli.unforeseen"
    assert "CERTFERRY_TRACEBACK=1" in ended.error["remedy"]
    assert "Traceback" not in ended.stderr
    monkeypatch.setenv("CERTFERRY_TRACEBACK", "1")
    assert "out of cheese" in certferry("trustlist", "show", "x").stderr


def test_json_stays_one_line_whatever_stands_in_it() -> None:
    ended = certferry("trustlist", "show", "line\nbreak\udcff", "--json")
    assert json.loads(ended.stdout)["error"]["sentence"].startswith("cannot read line\nbreak")
