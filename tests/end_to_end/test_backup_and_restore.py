"""A cluster in one file: taken while the cluster is in use, restored on another machine, served to the same phones."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.cluster import schema
from certferry.cluster.backup import back_up, restore
from certferry.cluster.backup_file import BackupDamagedError, BackupForeignError, BackupKeyError, BackupReader
from certferry.cluster.cluster import Cluster
from certferry.cluster.database import ClusterMovedError, Database, DatabaseOutdatedError
from certferry.cluster.location import ClusterLocation
from certferry.cluster.resets import ResetOutcome
from certferry.cluster.rows import digest_of, every_table
from certferry.cluster.values import Phone, Service, TrustChange
from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Store
from command_line import COMMAND, Ended, certferry, certferry_process, loopback_cluster
from conftest import MakeCertificate, MakeCluster
from early_clusters import copy_to_early_schema
from postgres import Postgres, running_postgres

PHONE = "SEP001B54000001"
PASSPHRASE = "correct horse battery"
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def location(place: Path) -> ClusterLocation:
    return ClusterLocation.parse(place)


def no_passphrase() -> str:
    raise AssertionError("nobody should be asked")


@pytest.fixture
def cluster(make_cluster: MakeCluster, make_certificate: MakeCertificate, tmp_path: Path) -> Cluster:
    """A cluster with a row in most tables."""
    made = make_cluster(nodes=2, secure=True)
    made.location.folder.relative_to(tmp_path)  # only in a folder
    made.add_phones([Phone(f"SEP{number:012X}", description="é漢") for number in range(300)])
    made.change_trust(
        [TrustChange("add", Store.PHONE_SAST_TRUST, make_certificate("CN=other;O=Example"), "by hand", "")],
        action="upload",
    )
    made.set_setting("sftp.password", "swordfish", secret=True)
    made.set_parameter("tvs-cache-seconds", "3600")
    return made


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    return file


def digests(place: ClusterLocation) -> dict[str, Any]:
    """All rows, but for the line that tells of the restoring."""
    with closing(Database(place)) as database, database.read() as connection:
        told = ("audit", "fact")
        return {each.name: digest_of(connection, each) for each in every_table() if each.name not in told}


# --- another machine


@dataclass
class Machine:
    """A home and a folder of its own, and processes that know nothing else."""

    home: Path

    def run(self, *words: object) -> Ended:
        return certferry_process(*words, env=self.environment, cwd=self.home)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CERTFERRY_", "XDG_"))}
        return kept | {"HOME": str(self.home)}

    @contextmanager
    def running(self, *words: object) -> Iterator[Any]:
        """Run a command that stays; give what reads its next line."""
        command = [*COMMAND, *map(str, words), "--json"]
        with subprocess.Popen(command, env=self.environment, cwd=self.home, stdout=subprocess.PIPE, text=True) as run:
            try:
                yield lambda: json.loads(run.stdout.readline()) if run.stdout else None
            finally:
                run.terminate()


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Machine]:
    def of(name: str) -> Machine:
        (tmp_path / name).mkdir()
        return Machine(tmp_path / name)

    return of


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def boot(machine: Machine, tftp: str, flash: Path) -> dict[str, Any]:
    """Boot a phone; return how, and what it holds then."""
    words = ["fleet", "run", "--tftp", tftp, "--device", PHONE, "--flash", flash]
    with machine.running(*words) as following:
        following()
        while (told := following())["event"] != "registered":
            booted = told
    lists = {path.name: path.read_bytes() for path in (flash / PHONE).glob("*.tlv")}
    return {"code": booted["code"], "lists": lists}


@pytest.mark.slow
@pytest.mark.parametrize("to", ["folder", "postgresql"])
def test_a_phone_finds_its_cluster_unchanged_on_another_machine(
    to: str, key_pool: PooledKeys, machine: Callable[[str], Machine], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    one, other, phones = machine("one"), machine("other"), machine("phones")
    made = loopback_cluster(one.home / "cluster", key_pool, secure=True)
    made.add_phones([Phone(PHONE)])
    node = made.publisher
    tftp = f"{node.address}:{node.ports[Service.TFTP]}"
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    with one.running("serve", "--cluster", "cluster") as following:
        assert following()["ready"] is True
        before = boot(phones, tftp, tmp_path / "flash")
        words = ["--cluster", "cluster", "--passphrase-file", tmp_path / "passphrase"]
        assert one.run("cluster", "backup", tmp_path / "backup", *words).code == 0
    assert set(before["lists"]) == {"CTLFile.tlv", "ITLFile.tlv"}
    made.close()
    shutil.rmtree(one.home)

    place = request.getfixturevalue("postgres").url() if to == "postgresql" else "elsewhere"
    restored = other.run(
        "cluster", "restore", tmp_path / "backup", "--to", place, "--passphrase-file", tmp_path / "passphrase", "--json"
    )
    assert restored.code == 0, restored.stderr
    assert Path(other.home / restored.json["key_file"]).is_relative_to(other.home)
    assert other.run("audit", "verify", "--cluster", place).code == 0
    with other.running("serve", "--cluster", place) as following:
        assert following()["ready"] is True
        assert boot(phones, tftp, tmp_path / "flash") == before
        assert boot(phones, tftp, tmp_path / "fresh flash")["lists"] == before["lists"]


# --- what is in it


def test_every_row_arrives_and_the_audit_log_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    made = back_up(cluster.location, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    there = location(tmp_path / "there")
    done = restore(tmp_path / "backup", there, NOW, passphrase=lambda: PASSPHRASE)
    assert digests(there) == digests(cluster.location)
    assert done.rows == made.rows
    assert done.audit_problem is None
    with closing(Cluster.open(there.text)) as opened:
        assert opened.verify_audit() == done.audit_lines == cluster.verify_audit() + 1
        assert opened.audit_lines()[:-1] == cluster.audit_lines()
        told = json.loads(opened.audit_lines()[-1])
        assert (told["action"], told["made"], told["after"]) == (
            "restore-cluster",
            NOW.isoformat(),
            schema.SCHEMA_VERSION,
        )
        assert opened.setting("sftp.password") == "swordfish"
        assert opened.identities() == cluster.identities()
        opened.add_phones([Phone(PHONE)])  # it goes on as any cluster does
        opened.undo(opened.history()[-1].id)


def test_resets_that_nobody_had_taken_are_not_carried_out_days_later(cluster: Cluster, tmp_path: Path) -> None:
    phones = {f"hand-{number}": f"SEP00000000000{number}" for number in range(3)}
    cluster.resets.ask(phones, "ann")
    (taken,) = cluster.resets.take("tokyo-pub", ["SEP000000000000"])
    back_up(cluster.location, tmp_path / "file", NOW)
    words = ["cluster", "restore", tmp_path / "file", "--to", tmp_path / "restored"]
    told = certferry(*words, "--seal-key", cluster.location.key_file, "--json").json
    assert told["resets_withdrawn"] == 2
    with closing(Cluster.open(tmp_path / "restored")) as restored:
        assert restored.resets.open_count() == 0
        found = restored.resets.find(phones)
        assert {request.outcome for request in found.values() if request.id != taken.id} == {ResetOutcome.ABSENT}
        assert found[taken.id] == taken, "a node had it: nobody knows whether the phone was told"
        assert json.loads(restored.audit_lines()[-1])["resets_withdrawn"] == 2
    assert cluster.resets.open_count() == 2, "where it was backed up, they are to be done"


def test_a_restore_says_which_resets_it_withdrew(cluster: Cluster, tmp_path: Path) -> None:
    cluster.resets.ask({"hand-1": "SEP000000000001"}, "ann")
    back_up(cluster.location, tmp_path / "file", NOW)
    words = ["cluster", "restore", tmp_path / "file", "--to", tmp_path / "restored"]
    told = certferry(*words, "--seal-key", cluster.location.key_file)
    assert "1 reset that no node had taken yet was withdrawn" in told.stdout


def test_no_private_key_and_no_password_can_be_read_in_it(cluster: Cluster, tmp_path: Path) -> None:
    back_up(cluster.location, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    key = cluster.location.key_file.read_bytes()
    with (tmp_path / "backup").open("rb") as file:
        reader = BackupReader(file, "backup")
        content = json.dumps(list(reader.lines()), default=bytes.hex)
    everything = (tmp_path / "backup").read_bytes() + content.encode() + reader.header.wrapped.encode()
    secrets = [key, key.hex().encode(), b"swordfish", PASSPHRASE.encode(), b"PRIVATE KEY"]
    for identity in cluster.identities():
        numbers = cluster.private_key(identity).private_numbers()
        secret = numbers.p if isinstance(numbers, rsa.RSAPrivateNumbers) else numbers.private_value
        raw = secret.to_bytes(128).lstrip(b"\x00")
        secrets += [raw, raw.hex().encode()]
    assert not [secret for secret in secrets if secret in everything]


def test_only_its_owner_can_read_it(cluster: Cluster, tmp_path: Path) -> None:
    os.umask(os.umask(0))
    back_up(cluster.location, tmp_path / "backup", NOW)
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_backup_is_of_one_moment_while_the_cluster_changes(cluster: Cluster, tmp_path: Path) -> None:
    ended = threading.Event()

    def change() -> None:
        with closing(Cluster.open(cluster.location.text)) as mine:
            number = 1000
            while not ended.is_set():
                mine.add_phones([Phone(f"SEP{number:012X}", description=f"at version {mine.version()}")])
                number += 1

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for number in range(5):
            back_up(cluster.location, tmp_path / f"backup{number}", NOW, passphrase=PASSPHRASE)
    finally:
        ended.set()
        changing.join()
    for number in range(5):
        there = location(tmp_path / f"there{number}")
        restore(tmp_path / f"backup{number}", there, NOW, passphrase=lambda: PASSPHRASE)
        with closing(Cluster.open(there.text)) as opened:
            added = [line for line in opened.audit_lines() if json.loads(line)["action"] == "add-phones"]
            assert len(opened.phones()) == 300 + len(added) - 1  # each phone with its line of the audit log


# --- the key


def test_without_a_passphrase_the_key_file_has_to_be_brought(cluster: Cluster, tmp_path: Path) -> None:
    back_up(cluster.location, tmp_path / "backup", NOW)
    key = cluster.location.key_file
    with pytest.raises(BackupKeyError) as refused:
        restore(tmp_path / "backup", location(tmp_path / "there"), NOW, passphrase=no_passphrase)
    assert str(key) in refused.value.remedy
    assert not (tmp_path / "there").exists()
    restore(tmp_path / "backup", location(tmp_path / "there"), NOW, passphrase=no_passphrase, key_file=key)
    assert (tmp_path / "there" / "seal.key").read_bytes() == key.read_bytes()


def test_a_key_that_is_at_the_new_place_already_is_used(cluster: Cluster, tmp_path: Path) -> None:
    back_up(cluster.location, tmp_path / "backup", NOW)
    (tmp_path / "there").mkdir()
    shutil.copy(cluster.location.key_file, tmp_path / "there")
    restore(tmp_path / "backup", location(tmp_path / "there"), NOW, passphrase=no_passphrase)
    assert digests(location(tmp_path / "there")) == digests(cluster.location)


def test_the_key_of_another_cluster_is_refused(cluster: Cluster, make_cluster: MakeCluster, tmp_path: Path) -> None:
    other = make_cluster("other").location.key_file
    back_up(cluster.location, tmp_path / "backup", NOW)
    with pytest.raises(BackupKeyError, match="is not the key"):
        restore(tmp_path / "backup", location(tmp_path / "there"), NOW, passphrase=no_passphrase, key_file=other)
    assert not (tmp_path / "there").exists()


# --- what is refused, whole


def test_a_torn_or_altered_backup_leaves_nothing_behind(cluster: Cluster, tmp_path: Path) -> None:
    back_up(cluster.location, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    whole = (tmp_path / "backup").read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:-40] + b"\x00" + whole[-39:], whole + b"\x00"):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(BackupDamagedError):
            restore(tmp_path / "damaged", location(tmp_path / "there"), NOW, passphrase=lambda: PASSPHRASE)
        assert not (tmp_path / "there").exists()


def test_a_restored_table_that_is_not_as_it_was_takes_everything_back(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(cluster.location, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    lines = BackupReader.lines

    def forget_a_phone(reader: BackupReader) -> Iterator[Any]:
        for line in lines(reader):
            if len(line.get("rows", ())) == 300:
                line["rows"].pop()
            yield line

    monkeypatch.setattr(BackupReader, "lines", forget_a_phone)
    with pytest.raises(BackupDamagedError, match="table phone"):
        restore(tmp_path / "backup", location(tmp_path / "there"), NOW, passphrase=lambda: PASSPHRASE)
    assert not (tmp_path / "there").exists()


def test_a_place_that_holds_a_cluster_is_left_alone(
    cluster: Cluster, make_cluster: MakeCluster, tmp_path: Path, passphrase_file: Path
) -> None:
    other = make_cluster("other")
    before = digests(other.location)
    back_up(cluster.location, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    words = ["--to", other.location.text, "--passphrase-file", passphrase_file, "--json"]
    refused = certferry("cluster", "restore", tmp_path / "backup", *words)
    assert (refused.code, refused.error["code"]) == (1, "cluster.exists")
    assert digests(other.location) == before


def test_a_cluster_that_was_moved_is_not_backed_up_where_it_was(cluster: Cluster, tmp_path: Path) -> None:
    there = tmp_path / "moved"
    assert certferry("cluster", "move", "--to", there, "--cluster", cluster.location.text).code == 0
    with pytest.raises(ClusterMovedError):
        back_up(cluster.location, tmp_path / "backup", NOW)
    assert not (tmp_path / "backup").exists()


def test_an_audit_log_with_a_gap_is_told_and_does_not_stand_in_the_way(cluster: Cluster, tmp_path: Path) -> None:
    with closing(sqlite3.connect(cluster.location.database)) as database, database:
        database.execute("DELETE FROM audit WHERE position = 2")
    told = back_up(cluster.location, tmp_path / "backup", NOW, passphrase=PASSPHRASE).audit_problem
    assert told
    assert "audit log" in told
    there = location(tmp_path / "there")
    assert restore(tmp_path / "backup", there, NOW, passphrase=lambda: PASSPHRASE).audit_problem == told


# --- an earlier certferry's cluster


@pytest.fixture
def first_schema(cluster: Cluster, tmp_path: Path) -> ClusterLocation:
    """The same cluster as the first certferry made it."""
    return copy_to_early_schema(cluster.location, tmp_path / "early", 1)


def test_a_backup_of_an_earlier_schema_is_upgraded_as_it_is_restored(
    cluster: Cluster, first_schema: ClusterLocation, tmp_path: Path
) -> None:
    with pytest.raises(DatabaseOutdatedError):
        Cluster.open(first_schema.text)
    made = back_up(first_schema, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    assert made.header.schema == 1
    assert "sighting" not in made.rows
    there = location(tmp_path / "there")
    done = restore(tmp_path / "backup", there, NOW, passphrase=lambda: PASSPHRASE)
    assert (done.header.schema, done.schema) == (1, schema.SCHEMA_VERSION)
    assert of(made.rows, digests(there)) == of(made.rows, digests(cluster.location))
    with closing(Cluster.open(there.text)) as opened:
        opened.verify_audit()
        opened.sightings.registered()


def of(tables: Iterable[str], found: Mapping[str, Any]) -> dict[str, Any]:
    """What is about some tables; those that the first certferry had not are empty after an upgrade."""
    return {name: found[name] for name in tables if name in found}


def test_a_backup_of_a_later_schema_is_refused(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(cluster.location, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    sentence = f"has schema {schema.SCHEMA_VERSION}, this certferry reads 1"
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 1)
    with pytest.raises(BackupForeignError, match=sentence):
        restore(tmp_path / "backup", location(tmp_path / "there"), NOW, passphrase=lambda: PASSPHRASE)


# --- from PostgreSQL, and back


def test_a_cluster_in_postgresql_comes_back_into_a_folder(cluster: Cluster, tmp_path: Path, postgres: Postgres) -> None:
    back_up(cluster.location, tmp_path / "first", NOW, passphrase=PASSPHRASE)
    server = ClusterLocation.parse(f"{postgres.url()}?seal_key={tmp_path / 'pg.key'}")
    restore(tmp_path / "first", server, NOW, passphrase=lambda: PASSPHRASE)
    with closing(Cluster.open(server.text)) as opened:
        opened.add_phones([Phone(PHONE)])  # new rows are numbered after those restored
        opened.undo(opened.history()[-1].id)
        opened.verify_audit()
    back_up(server, tmp_path / "second", NOW, passphrase=PASSPHRASE)
    there = location(tmp_path / "there")
    restore(tmp_path / "second", there, NOW, passphrase=lambda: PASSPHRASE)
    assert digests(there) == digests(server)


def test_an_earlier_schema_is_upgraded_into_postgresql(
    first_schema: ClusterLocation, cluster: Cluster, tmp_path: Path, postgres: Postgres
) -> None:
    made = back_up(first_schema, tmp_path / "backup", NOW, passphrase=PASSPHRASE)
    server = ClusterLocation.parse(f"{postgres.url()}?seal_key={tmp_path / 'pg.key'}")
    restore(tmp_path / "backup", server, NOW, passphrase=lambda: PASSPHRASE)
    assert of(made.rows, digests(server)) == of(made.rows, digests(cluster.location))


# --- the commands


def test_the_passphrase_comes_from_a_file_or_the_environment(
    cluster: Cluster, tmp_path: Path, passphrase_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--cluster", cluster.location.text, "--json"]
    made = certferry("cluster", "backup", tmp_path / "by-file", "--passphrase-file", passphrase_file, *at)
    assert (made.code, made.json["holds_key"], made.json["rows"]["phone"]) == (0, True, 300)
    monkeypatch.setenv("CERTFERRY_BACKUP_PASSPHRASE", PASSPHRASE)
    assert certferry("cluster", "backup", tmp_path / "by-environment", *at).json["holds_key"] is True
    present = schema.SCHEMA_VERSION
    for name in ("by-file", "by-environment"):
        done = certferry("cluster", "restore", tmp_path / name, "--to", tmp_path / f"{name}.there", "--json")
        assert (done.code, done.json["schema"]) == (0, {"before": present, "after": present})


def test_without_a_passphrase_a_warning_says_where_the_key_is(cluster: Cluster, tmp_path: Path) -> None:
    made = certferry("cluster", "backup", tmp_path / "backup", "--cluster", cluster.location.text)
    assert made.code == 0
    assert str(cluster.location.key_file) in made.stderr
    assert "rows in" in made.stdout


def test_nobody_there_to_be_asked_is_one_sentence(cluster: Cluster, tmp_path: Path, passphrase_file: Path) -> None:
    at = ["--cluster", cluster.location.text]
    refused = certferry("cluster", "backup", tmp_path / "backup", "--ask-passphrase", "--json", *at)
    assert (refused.code, refused.error["code"]) == (2, "cli.passphrase-missing")
    assert certferry("cluster", "backup", tmp_path / "backup", "--passphrase-file", passphrase_file, *at).code == 0
    refused = certferry("cluster", "restore", tmp_path / "backup", "--to", tmp_path / "there", "--json")
    assert refused.error["code"] == "cli.passphrase-missing"
    passphrase_file.write_text("another passphrase\n")
    words = ["--to", tmp_path / "there", "--passphrase-file", passphrase_file, "--json"]
    refused = certferry("cluster", "restore", tmp_path / "backup", *words)
    assert (refused.code, refused.error["code"]) == (1, "cluster.backup-passphrase")
    assert "another passphrase" not in refused.stdout + refused.stderr


def test_an_earlier_backup_is_kept_unless_it_is_to_be_replaced(cluster: Cluster, tmp_path: Path) -> None:
    words = ["cluster", "backup", tmp_path / "backup", "--cluster", cluster.location.text, "--json"]
    assert certferry(*words).code == 0
    assert certferry(*words).error["code"] == "cluster.backup-exists"
    assert certferry(*words, "--replace").code == 0


def test_a_file_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no backup")
    for name, code in (("notes", "cluster.backup-foreign"), ("absent", "cluster.backup")):
        refused = certferry("cluster", "restore", tmp_path / name, "--to", tmp_path / "there", "--json")
        assert (refused.code, refused.error["code"]) == (1, code)
