"""A cluster moves from its folder into PostgreSQL and back: everything, compared, or nothing."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.x509 import load_der_x509_certificate
from sqlalchemy import Table, create_engine, delete, select

from certferry.cluster import moving, schema, upgrading
from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.cluster.database import ClusterMovedError, Database
from certferry.cluster.location import KEY_VARIABLE, ClusterExistsError, ClusterLocation, ClusterMissingError
from certferry.cluster.moving import MoveIncompleteError, move
from certferry.cluster.sealing import SealError
from certferry.cluster.values import Phone, TrustChange
from certferry.trust.purpose import Purpose, Store
from command_line import certferry
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster
from early_clusters import fill_early_schema
from postgres import Postgres, running_postgres

SECRET = "correct horse"
Contents = Mapping[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(autouse=True)
def keys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "certferry"


@pytest.fixture
def source(make_cluster: MakeCluster, make_certificate: MakeCertificate) -> Iterator[ClusterLocation]:
    """A cluster that was used: something in most of its tables."""
    with closing(make_cluster(secure=True)) as cluster:
        signer = make_certificate("CN=osaka-pub;O=\u30d5\u30a7\u30ea\u30fc")
        change = [TrustChange("add", Store.PHONE_SAST_TRUST, signer, "osaka", "\u5927\u962a")]
        cluster.undo(cluster.change_trust(change, action="import"))
        cluster.change_trust(change, action="import")
        cluster.add_phones([Phone(f"SEP{number:012X}", secure=number % 2 == 0) for number in range(2500)])
        cluster.set_setting("sftp.password", SECRET, secret=True)
        cluster.request_certificate(Purpose.TOMCAT)
        cluster.accounts.put_user("anna", Role.OPERATOR, "hash")
        cluster.report_served({"source-pub": 3})
        cluster.prepare_searches()
        yield cluster.location


@pytest.fixture
def target(postgres: Postgres) -> ClusterLocation:
    return ClusterLocation.parse(postgres.url())


def contents(location: ClusterLocation) -> Contents:
    with closing(Database(location)) as database, database.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in schema.metadata.sorted_tables
        }


def without_the_move(found: Contents) -> Contents:
    """What stood before the move, which adds a line to the audit log."""
    lines = [row for row in found["audit"] if '"action": "move-cluster"' not in row[1]]
    facts = [row for row in found["fact"] if row[0] != "audit-head"]
    return {**found, "audit": lines, "fact": facts}


def clock() -> datetime:
    return CLUSTER_BORN


def test_a_moved_cluster_has_every_row_and_its_secrets_open_there(
    source: ClusterLocation, target: ClusterLocation
) -> None:
    before = contents(source)
    moved = move(source, target, clock)
    after = contents(target)
    assert without_the_move(after) == without_the_move(before)
    assert moved.rows == {name: len(rows) for name, rows in after.items()}
    assert moved.audit_lines == len(before["audit"]) + 1
    with closing(Cluster.open(target.text)) as cluster:
        assert cluster.setting("sftp.password") == SECRET
        identity = cluster.identity(Purpose.CALLMANAGER)
        assert (
            cluster.private_key(identity).public_key()
            == load_der_x509_certificate(identity.certificate.der).public_key()
        )
        assert len(cluster.phones()) == 2500


def test_the_moved_cluster_goes_on_where_it_was(
    source: ClusterLocation, target: ClusterLocation, make_certificate: MakeCertificate
) -> None:
    move(source, target, clock)
    with closing(Cluster.open(target.text)) as cluster:
        version = cluster.version()
        signer = make_certificate("CN=kyoto-pub")
        change = cluster.change_trust([TrustChange("add", Store.PHONE_SAST_TRUST, signer)], action="import")
        assert cluster.history()[-1].id == change  # numbered after those that came along
        assert cluster.trust_entries(Store.PHONE_SAST_TRUST)[-1].certificate == signer
        assert cluster.version() == version + 1
        assert cluster.verify_audit() == len(cluster.audit_lines())


def test_it_comes_back_into_a_folder(source: ClusterLocation, target: ClusterLocation, tmp_path: Path) -> None:
    before = contents(source)
    move(source, target, clock)
    back = ClusterLocation.parse(tmp_path / "back")
    move(target, back, clock)
    assert without_the_move(contents(back)) == without_the_move(before)
    assert back.folder.stat().st_mode & 0o777 == 0o700
    with closing(Cluster.open(back.text)) as cluster:
        assert cluster.setting("sftp.password") == SECRET
    with pytest.raises(ClusterMovedError):
        Cluster.open(target.text)


def test_the_old_place_is_refused_with_the_new_one_named(source: ClusterLocation, target: ClusterLocation) -> None:
    with closing(Cluster.open(source.text)) as opened_before:
        move(source, target, clock)
        phones = opened_before.phones()
        with pytest.raises(ClusterMovedError):  # nobody who opened it before loses a change in it
            opened_before.add_phones([Phone("SEPFFFFFFFFFFFF")])
        assert opened_before.phones() == phones
    with pytest.raises(ClusterMovedError, match="was moved") as caught:
        Cluster.open(source.text)
    assert target.text in caught.value.remedy
    with pytest.raises(ClusterMovedError):
        move(source, target, clock)


def test_the_old_place_keeps_all_it_had(source: ClusterLocation, target: ClusterLocation) -> None:
    before = contents(source)
    move(source, target, clock)
    after = contents(source)
    told = {row for row in after["fact"] if row not in before["fact"]}
    assert {key for key, _ in told} == {"moved-to", "version"}
    assert {**after, "fact": []} == {**before, "fact": []}


def test_the_key_file_is_carried_for_its_owner_alone(source: ClusterLocation, target: ClusterLocation) -> None:
    move(source, target, clock)
    assert target.key_file.read_bytes() == source.key_file.read_bytes()
    assert target.key_file.stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_was_carried_before_is_used_and_another_one_is_left_alone(
    source: ClusterLocation, target: ClusterLocation
) -> None:
    target.key_file.parent.mkdir(parents=True)
    target.key_file.write_bytes(b"k" * 32)
    target.key_file.chmod(0o600)
    with pytest.raises(SealError, match="exists already"):
        move(source, target, clock)
    assert target.key_file.read_bytes() == b"k" * 32
    target.key_file.write_bytes(source.key_file.read_bytes())
    move(source, target, clock)


def test_a_place_that_holds_another_cluster_is_left_alone(
    source: ClusterLocation, make_cluster: MakeCluster, target: ClusterLocation
) -> None:
    with closing(make_cluster("other", "12.5.1")) as other:
        move(other.location, target, clock)
    held = contents(target)
    with pytest.raises(ClusterExistsError):
        move(source, target, clock)
    assert contents(target) == held
    Cluster.open(source.text).close()  # in use as before


def test_a_cluster_is_not_moved_onto_itself(source: ClusterLocation) -> None:
    with pytest.raises(ClusterExistsError):
        move(source, source, clock)
    Cluster.open(source.text).close()


def test_what_arrives_otherwise_than_it_was_sent_is_taken_back(
    source: ClusterLocation, target: ClusterLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(source)

    def lose_one(connection: Any, table: Table) -> None:
        if table is schema.phone:
            connection.execute(delete(table).where(table.c.device == "SEP000000000000"))

    with monkeypatch.context() as patched:
        patched.setattr(moving, "continue_numbers", lose_one)
        with pytest.raises(MoveIncompleteError, match="phone"):
            move(source, target, clock)
    assert not target.key_file.exists()
    assert contents(source) == before
    with pytest.raises(ClusterMissingError):
        Cluster.open(target.text)
    move(source, target, clock)


def cut_off_before_the_last_step(
    source: ClusterLocation, target: ClusterLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(moving, "put_fact", fail)
        with pytest.raises(RuntimeError, match="cut off"):
            move(source, target, clock)


def test_a_move_that_was_cut_off_before_its_last_step_is_finished_by_the_next(
    source: ClusterLocation, target: ClusterLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_before_the_last_step(source, target, monkeypatch)
    Cluster.open(source.text).close()  # not marked yet
    arrived = contents(target)
    move(source, target, clock)
    assert contents(target) == arrived
    with pytest.raises(ClusterMovedError):
        Cluster.open(source.text)


def test_a_move_that_was_cut_off_is_not_finished_once_either_side_has_changed(
    source: ClusterLocation, target: ClusterLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_before_the_last_step(source, target, monkeypatch)
    with closing(Cluster.open(target.text)) as cluster:
        cluster.add_phones([Phone("SEPFFFFFFFFFFFF")])
    with pytest.raises(ClusterExistsError):
        move(source, target, clock)


def test_the_command_moves_and_says_what_to_do_next(source: ClusterLocation, target: ClusterLocation) -> None:
    moved = certferry("--cluster", source.text, "cluster", "move", "--to", target.text)
    assert (moved.code, moved.stderr) == (0, "")
    assert f"--cluster {target.text}" in moved.stdout
    assert str(target.key_file) in moved.stdout
    refused = certferry("--cluster", source.text, "cluster", "show", "--json")
    assert refused.error["code"] == "cluster.moved"
    assert target.text in refused.error["remedy"]
    assert certferry("--cluster", target.text, "audit", "verify").code == 0


def test_migrations_make_the_same_tables_in_postgresql(target: ClusterLocation) -> None:
    assert target.server is not None
    engine = create_engine(target.server.url)
    with engine.begin() as connection:
        upgrading.migrate(connection, 0)
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("number", range(1, schema.SCHEMA_VERSION))
def test_a_cluster_of_an_earlier_schema_is_upgraded_in_postgresql(
    source: ClusterLocation, target: ClusterLocation, number: int
) -> None:
    fill_early_schema(source, target, number)
    refused = certferry("--cluster", target.text, "cluster", "show", "--json")
    assert refused.error["code"] == "cluster.database-outdated"
    done = certferry("--cluster", target.text, "cluster", "upgrade", "--json").json
    assert (done["before"], done["backup"]) == (number, None)
    with closing(Cluster.open(target.text)) as cluster:
        assert len(cluster.phones()) == 2500
        assert cluster.verify_audit() == len(cluster.audit_lines())
