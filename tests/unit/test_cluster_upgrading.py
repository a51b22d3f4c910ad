"""A cluster that an earlier certferry made: refused with the way on, upgraded whole or not at all, losing nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from certferry.cluster import audit, schema, upgrading
from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.cluster.database import DatabaseForeignError, DatabaseOutdatedError
from certferry.cluster.location import ClusterLocation, ClusterMissingError
from certferry.cluster.searching import TrustQuery
from certferry.cluster.upgrading import Upgraded, upgrade
from certferry.cluster.values import Phone
from command_line import certferry
from conftest import CLUSTER_BORN, MakeCluster
from early_clusters import copy_to_early_schema

Rows = dict[str, list[tuple[Any, ...]]]
ON_FIRST_USE = ("web_user", "web_token", "certificate_text")


EARLIER = {
    "schema 1": (1, ()),
    "schema 1 without what was made on first use": (1, ON_FIRST_USE),
    "schema 2": (2, ()),
}


@pytest.fixture(params=list(EARLIER.values()), ids=list(EARLIER))
def old(make_cluster: MakeCluster, request: pytest.FixtureRequest, tmp_path: Path) -> ClusterLocation:
    """A cluster with the tables, and no more, that an earlier schema had."""
    number, missing = request.param
    with closing(make_cluster(secure=True)) as cluster:
        cluster.add_phones([Phone("SEP001122334455")])
        early = copy_to_early_schema(cluster.location, tmp_path / "early", number)
    with closing(sqlite3.connect(early.database)) as connection:
        for name in missing:
            connection.execute(f"DROP TABLE {name}")
        connection.commit()
    return early


@pytest.fixture
def number(old: ClusterLocation) -> int:
    """Which schema the old cluster has."""
    with closing(sqlite3.connect(old.database)) as connection:
        return int(connection.execute("SELECT value FROM fact WHERE key = 'schema'").fetchone()[0])


def rows_of(file: Path) -> Rows:
    with closing(sqlite3.connect(file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


def test_migrations_make_the_tables_that_the_schema_describes() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrading.migrate(connection, 0)
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_the_last_revision_is_the_schema_version() -> None:
    revisions = {path.stem for path in (upgrading.MIGRATIONS / "versions").glob("revision_*.py")}
    assert revisions == {f"revision_{number}" for number in range(1, schema.SCHEMA_VERSION + 1)}


def test_an_old_cluster_is_refused_with_the_command_that_upgrades_it(old: ClusterLocation, number: int) -> None:
    sentence = f"has schema {number}, this certferry reads {schema.SCHEMA_VERSION}"
    with pytest.raises(DatabaseOutdatedError, match=sentence) as caught:
        Cluster.open(old.text)
    assert "certferry cluster upgrade" in caught.value.remedy


def test_an_upgrade_loses_nothing(old: ClusterLocation, number: int) -> None:
    before = rows_of(old.database)
    done = upgrade(old, CLUSTER_BORN)
    assert (done.before, done.after) == (number, schema.SCHEMA_VERSION)
    after = rows_of(old.database)
    kept = {name: rows for name, rows in before.items() if name not in ("fact", "audit")}
    assert {name: after[name] for name in kept} == kept
    assert after["audit"][:-1] == before["audit"]
    changed = ("schema", "audit-head")
    assert [row for row in after["fact"] if row[0] not in changed] == [
        row for row in before["fact"] if row[0] not in changed
    ]


def test_an_upgraded_cluster_works_as_a_new_one(old: ClusterLocation) -> None:
    upgrade(old, CLUSTER_BORN)
    with closing(Cluster.open(old.text)) as cluster:
        assert cluster.verify_audit() == 3
        assert '"action": "upgrade-cluster"' in cluster.audit_lines()[-1]
        assert [phone.device for phone in cluster.phones()] == ["SEP001122334455"]
        assert cluster.trust_entries_about([]) == tuple(entry for entry in cluster.trust_entries() if entry.is_own)
        assert cluster.find_trust(TrustQuery()).total == len(cluster.trust_entries())
        cluster.accounts.put_user("anna", Role.OPERATOR, "hash")
        assert cluster.sightings.registered() == {}


def test_the_tables_are_those_of_a_new_cluster(old: ClusterLocation) -> None:
    upgrade(old, CLUSTER_BORN)
    engine = create_engine(f"sqlite:///{old.database}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        assert set(inspect(connection).get_table_names()) == {*schema.metadata.tables, "alembic_version"}
    engine.dispose()


def test_a_copy_of_the_file_as_it_was_stays_for_its_owner_alone(old: ClusterLocation, number: int) -> None:
    before = rows_of(old.database)
    copy = upgrade(old, CLUSTER_BORN).backup
    assert copy == old.folder / f"cluster.sqlite.schema-{number}"
    assert rows_of(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600


def test_an_upgrade_that_fails_changes_nothing(
    old: ClusterLocation, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of(old.database)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(audit, "append", fail)
        with pytest.raises(RuntimeError, match="cut off"):
            upgrade(old, CLUSTER_BORN)
    assert rows_of(old.database) == before
    assert upgrade(old, CLUSTER_BORN).before == number


def test_a_cluster_that_is_up_to_date_is_left_alone(make_cluster: MakeCluster) -> None:
    with closing(make_cluster()) as cluster:
        version = schema.SCHEMA_VERSION
        assert upgrade(cluster.location, CLUSTER_BORN) == Upgraded(version, version)
        assert cluster.verify_audit() == 1
        assert not list(cluster.location.folder.glob("*.schema-*"))


def test_what_is_no_cluster_or_of_a_later_certferry_is_not_upgraded(tmp_path: Path, make_cluster: MakeCluster) -> None:
    with pytest.raises(ClusterMissingError):
        upgrade(ClusterLocation.parse(tmp_path), CLUSTER_BORN)
    with closing(make_cluster()) as cluster:
        location = cluster.location
    with closing(sqlite3.connect(location.database)) as connection:
        connection.execute("UPDATE fact SET value = '999' WHERE key = 'schema'")
        connection.commit()
    with pytest.raises(DatabaseForeignError, match="999"):
        upgrade(location, CLUSTER_BORN)


def test_a_process_that_opened_the_cluster_before_a_later_upgrade_writes_no_more(make_cluster: MakeCluster) -> None:
    with closing(make_cluster()) as cluster:
        with closing(sqlite3.connect(cluster.location.database)) as connection:
            connection.execute("UPDATE fact SET value = '999' WHERE key = 'schema'")
            connection.commit()
        with pytest.raises(DatabaseForeignError):
            cluster.add_phones([Phone("SEP001122334455")])


def test_the_command_says_what_it_did(old: ClusterLocation, number: int) -> None:
    refused = certferry("cluster", "show", "--cluster", old.text, "--json")
    assert refused.error["code"] == "cluster.database-outdated"
    done = certferry("cluster", "upgrade", "--cluster", old.text, "--json").json
    assert (done["before"], done["after"]) == (number, schema.SCHEMA_VERSION)
    assert done["backup"] == str(old.folder / f"cluster.sqlite.schema-{number}")
    again = certferry("cluster", "upgrade", "--cluster", old.text)
    assert "nothing was changed" in again.stdout
