"""A cluster in a real PostgreSQL: made, used from several places at once, and cut off in the middle."""

import os
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from shutil import copy

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster import audit, engines, schema
from certferry.cluster.cluster import Cluster, ClusterSpec
from certferry.cluster.database import DatabaseError, DatabaseForeignError, UnstorableError
from certferry.cluster.location import KEY_VARIABLE, ClusterExistsError, ClusterMissingError
from certferry.cluster.sealing import SealError
from certferry.cluster.searching import Slice, TrustQuery
from certferry.cluster.server_address import PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE
from certferry.cluster.values import Phone, TrustChange
from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Purpose, Store
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from command_line import certferry
from conftest import CLUSTER_BORN, MakeCertificate, usual_nodes
from on_postgresql import TEST_SERVER
from postgres import Postgres, running_postgres
from product import ROOT

Make = Callable[..., Cluster]
SECRET = "correct horse"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.url()


@pytest.fixture(autouse=True)
def keys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine keeps the key files of clusters."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "certferry"


@pytest.fixture
def create(key_pool: PooledKeys) -> Iterator[Make]:
    made: list[Cluster] = []

    def create(url: str, name: str = "tokyo", **options: object) -> Cluster:
        spec = ClusterSpec(name, Release.parse("11.5.1"), usual_nodes(name, 2), **options)  # type: ignore[arg-type]
        made.append(Cluster.create(url, spec, keys=key_pool, clock=lambda: CLUSTER_BORN))
        return made[-1]

    yield create
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(create: Make, url: str) -> Cluster:
    return create(url)


def tables(postgres: Postgres, url: str) -> set[object]:
    with closing(postgres.connect(url.rpartition("/")[2])) as connection:
        found = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        return {name for (name,) in found.fetchall()}


def end_connections(postgres: Postgres, cluster: Cluster) -> None:
    """End every connection to the cluster's database, as an administrator or a firewall may."""
    assert cluster.location.server is not None
    with closing(postgres.connect("postgres")) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [cluster.location.server.url.database],
        ).fetchall()
    assert ended


# --- made and used


def test_what_one_machine_changes_another_one_with_the_same_key_file_sees(
    cluster: Cluster, make_certificate: MakeCertificate, tmp_path: Path
) -> None:
    signer = make_certificate("CN=osaka-pub;O=Ferry")
    elsewhere = copy(cluster.location.key_file, tmp_path / "carried.key")
    with closing(Cluster.open(f"{cluster.location.text}?seal_key={elsewhere}")) as other:
        change = cluster.change_trust([TrustChange("add", Store.PHONE_SAST_TRUST, signer, "osaka")], action="import")
        assert signer in [entry.certificate for entry in other.trust_entries(Store.PHONE_SAST_TRUST)]
        assert other.find_trust(TrustQuery(text="OSAKA-PUB")).total == 1
        assert [line.changes for line in other.find_history().items] == [1]
        other.undo(change)
        assert signer not in [entry.certificate for entry in cluster.trust_entries()]
        new, rebuilt = other.regenerate(Purpose.CALLMANAGER)
        assert cluster.identity(Purpose.CALLMANAGER) == new
        assert rebuilt
        assert cluster.private_key(new).public_key() == other.private_key(new).public_key()
        cluster.add_phones([Phone("SEP00000000000A", description="a"), Phone("SEP00000000000A", description="b")])
        assert [phone.description for phone in other.phones()] == ["b"]
        assert cluster.verify_audit() == other.verify_audit()


def test_the_command_line_takes_the_url(url: str, keys_folder: Path) -> None:
    nodes = ["--node", "pub=192.0.2.1:publisher,tftp,tvs", "--release", "12.5.1"]
    assert certferry("cluster", "create", "tokyo", *nodes, "--cluster", url).code == 0
    shown = certferry("--cluster", url, "cluster", "show", "--json").json
    assert (shown["name"], shown["location"]) == ("tokyo", url)
    key_file = keys_folder / f"{url.rpartition('/')[2]}.key"
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_another_key_file_does_not_open_the_cluster(cluster: Cluster, keys_folder: Path) -> None:
    cluster.location.key_file.write_bytes(b"k" * 32)
    with pytest.raises(SealError):
        Cluster.open(cluster.location.text)
    cluster.location.key_file.unlink()
    with pytest.raises(SealError, match=str(keys_folder)):
        Cluster.open(cluster.location.text)


def test_no_secret_lies_open_in_the_database(cluster: Cluster, postgres: Postgres) -> None:
    cluster.set_setting("sftp.password", SECRET, secret=True)
    assert cluster.location.server is not None
    with closing(postgres.connect(str(cluster.location.server.url.database))) as connection:
        (row,) = connection.execute("SELECT value, sealed FROM setting WHERE key = 'sftp.password'").fetchall()
    assert row[0] is None
    assert SECRET.encode() not in bytes(row[1])  # type: ignore[call-overload]


def test_two_schemas_of_one_database_are_two_clusters(create: Make, url: str) -> None:
    one, other = create(f"{url}?schema=east", "east"), create(f"{url}?schema=west", "west")
    one.add_phones([Phone("SEP00000000000A")])
    assert other.phones() == ()
    assert (one.version(), other.version()) == (2, 1)
    with one._database.write():
        other.add_phones([Phone("SEP00000000000B")])  # no writer of one waits for the other


def test_texts_are_ordered_by_their_bytes_as_in_sqlite(cluster: Cluster, postgres: Postgres) -> None:
    assert cluster.location.server is not None
    with closing(postgres.connect(str(cluster.location.server.url.database))) as connection:
        others = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type IN ('text', 'character varying') AND collation_name IS DISTINCT FROM 'C'"
        ).fetchall()
    assert others == []


# --- created once, whole or not at all


def test_a_database_that_holds_a_cluster_is_not_taken_for_another(cluster: Cluster, create: Make) -> None:
    with pytest.raises(ClusterExistsError, match="holds a cluster already") as caught:
        create(cluster.location.text)
    assert "another place" in caught.value.remedy
    assert cluster.location.key_file.exists()


def test_of_several_that_create_at_once_one_wins(create: Make, url: str, tmp_path: Path) -> None:
    def attempt(number: int) -> str:
        try:
            return create(f"{url}?seal_key={tmp_path / str(number)}").location.text
        except ClusterExistsError:
            return ""

    with ThreadPoolExecutor(4) as pool:
        (winner,) = filter(None, pool.map(attempt, range(4)))
    with closing(Cluster.open(winner)) as opened:
        assert opened.verify_audit() == 1
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 1  # the others' key files are gone


def test_a_creation_that_fails_leaves_nothing(
    create: Make, url: str, postgres: Postgres, keys_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(audit, "append", fail)
        with pytest.raises(RuntimeError, match="cut off"):
            create(url)
    assert not keys_folder.exists()
    assert tables(postgres, url) == set()
    assert create(url).verify_audit() == 1


def test_a_database_without_a_cluster_and_one_that_is_not_there_are_told_apart(url: str) -> None:
    with pytest.raises(ClusterMissingError, match="no cluster in postgresql://"):
        Cluster.open(url)
    with pytest.raises(DatabaseError, match="does not exist") as caught:
        Cluster.open(f"{url}_of_nobody")
    assert not isinstance(caught.value, DatabaseForeignError)


def test_another_programs_tables_are_not_taken_for_a_cluster(create: Make, url: str, postgres: Postgres) -> None:
    with closing(postgres.connect(url.rpartition("/")[2])) as connection:
        connection.execute("CREATE TABLE phone (number integer)")
        with pytest.raises(DatabaseError, match="already exists"):
            create(url)
        assert tables(postgres, url) == {"phone"}
        connection.execute("CREATE TABLE fact (number integer)")
    with pytest.raises(DatabaseForeignError, match="is not a cluster's database"):
        Cluster.open(url)


# --- several writers


def test_threads_and_machines_that_write_at_once_lose_nothing(cluster: Cluster) -> None:
    before, numbers = cluster.version(), count(1)
    with closing(Cluster.open(cluster.location.text)) as other, ThreadPoolExecutor(8) as pool:
        writers = [cluster, other] * 20
        list(pool.map(lambda each: each.add_phones([Phone(f"SEP{next(numbers):012X}")]), writers))
        assert len(other.phones()) == 40
    assert cluster.version() == before + 40
    assert cluster.verify_audit() == 41


def test_a_reader_sees_nothing_of_a_change_that_comes_meanwhile(cluster: Cluster) -> None:
    with cluster._database.read() as connection:
        before = connection.execute(schema.phone.select()).all()
        cluster.add_phones([Phone("SEP00000000000A")])
        assert connection.execute(schema.phone.select()).all() == before
    assert len(cluster.phones()) == 1


def test_a_writer_who_waits_too_long_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0.1)
    with closing(Cluster.open(cluster.location.text)) as other, cluster._database.write():
        with pytest.raises(DatabaseError, match="lock timeout"):
            other.add_phones([Phone("SEP00000000000A")])
        assert other.phones() == ()  # readers wait for nobody


# --- cut off


def test_a_change_whose_connection_is_cut_is_not_made_and_the_next_one_is(cluster: Cluster, postgres: Postgres) -> None:
    def change() -> None:
        with cluster._change("add-phones", {}) as connection:
            connection.execute(schema.group.insert(), {"name": "Half", "members": "[]"})
            end_connections(postgres, cluster)
            connection.execute(schema.group.insert(), {"name": "Other half", "members": "[]"})

    with pytest.raises(DatabaseError) as caught:
        change()
    assert caught.value.code == "cluster.database"
    assert [group.name for group in cluster.groups()] == ["Default"]
    cluster.add_phones([Phone("SEP00000000000A")])
    assert cluster.verify_audit() == 2


def test_a_connection_that_is_cut_at_the_very_end_leaves_a_doubt_that_is_told(
    cluster: Cluster, postgres: Postgres
) -> None:
    def change() -> None:
        with cluster._database.write():
            end_connections(postgres, cluster)

    with pytest.raises(DatabaseError) as caught:
        change()
    assert "may have been made" in caught.value.remedy


def test_connections_that_were_cut_while_nobody_used_them_are_not_noticed(cluster: Cluster, postgres: Postgres) -> None:
    version = cluster.version()
    end_connections(postgres, cluster)
    assert cluster.version() == version


def test_while_the_server_is_away_each_call_says_so_and_works_again_when_it_is_back(create: Make) -> None:
    with running_postgres() as server:
        cluster = create(server.url())
        cluster.add_phones([Phone("SEP00000000000A")])
        server.stop()
        for call in (cluster.phones, lambda: cluster.add_phones([Phone("SEP00000000000B")])):
            with pytest.raises(DatabaseError, match=r"refused") as caught:
                call()
            assert caught.value.sentence.startswith(cluster.location.text)
            assert "PostgreSQL runs" in caught.value.remedy
        server.start()
        assert [phone.device for phone in cluster.phones()] == ["SEP00000000000A"]
        cluster.add_phones([Phone("SEP00000000000B")])
        assert cluster.verify_audit() == 3
        cluster.close()


# --- the password


@pytest.fixture(scope="module")
def guarded() -> Iterator[Postgres]:
    """A server that wants a password."""
    with running_postgres(SECRET) as server:
        yield server


def test_the_password_comes_from_the_environment_a_file_or_where_libpq_looks(
    guarded: Postgres, create: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, file = guarded.url(), tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    pgpass = tmp_path / "pgpass"
    pgpass.write_text(f"127.0.0.1:{guarded.port}:*:certferry:{SECRET}\n")
    pgpass.chmod(0o600)
    with monkeypatch.context() as patched:
        patched.setenv(PASSWORD_VARIABLE, SECRET)
        create(url)
    ways = {PASSWORD_FILE_VARIABLE: str(file), "PGPASSWORD": SECRET, "PGPASSFILE": str(pgpass)}
    for variable, value in ways.items():
        with monkeypatch.context() as patched:
            patched.setenv(variable, value)
            Cluster.open(url).close()


def test_a_wrong_password_is_told_and_not_repeated(guarded: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "s3cret-but-wrong")
    ended = certferry("cluster", "show", "--cluster", guarded.url(), "--json")
    assert ended.code == 1
    assert ended.error["code"] == "cluster.database"
    assert "password authentication failed" in ended.error["sentence"]
    assert f"came from the variable {PASSWORD_VARIABLE}." in ended.error["remedy"]
    assert "s3cret" not in ended.stdout + ended.stderr


def test_the_remedy_for_a_wrong_password_names_where_it_came_from(
    guarded: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, file, pgpass = guarded.url(), tmp_path / "password", tmp_path / "pgpass"
    file.write_text("wrong\n")
    pgpass.write_text("*:*:*:*:wrong\n")
    pgpass.chmod(0o600)

    def remedy(variable: str, value: object, place: str = url) -> str:
        with monkeypatch.context() as patched:
            patched.setenv(variable, str(value))
            with pytest.raises(DatabaseError, match="authentication failed") as caught:
                Cluster.open(place)
        return caught.value.remedy

    assert f"came from the file {file}, which {PASSWORD_FILE_VARIABLE} names." in remedy(PASSWORD_FILE_VARIABLE, file)
    assert "came from the variable PGPASSWORD." in remedy("PGPASSWORD", "wrong")
    assert f"came from the file {pgpass}." in remedy("PGPASSFILE", pgpass)
    assert f"came from the file {pgpass}." in remedy("PGPASSFILE", "/nowhere", f"{url}?passfile={pgpass}")


def test_the_remedy_where_no_password_was_found_says_where_it_was_looked_for(
    guarded: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, pgpass = guarded.url(), tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(pgpass))
    monkeypatch.delenv("PGPASSWORD", raising=False)

    def remedy() -> str:
        with pytest.raises(DatabaseError, match="no password supplied") as caught:
            Cluster.open(url)
        return caught.value.remedy

    assert f"there is no file {pgpass}" in remedy()
    pgpass.write_text(f"elsewhere:{guarded.port}:*:certferry:{SECRET}\n")
    pgpass.chmod(0o644)
    assert "others may read it (chmod 600)" in remedy()
    pgpass.chmod(0o600)
    database = url.rpartition("/")[2]
    assert f"{pgpass} has no line for 127.0.0.1:{guarded.port}:{database}:certferry" in remedy()
    assert SECRET not in remedy()


def test_each_way_of_not_being_let_in_has_its_own_remedy(postgres: Postgres, url: str) -> None:
    here = f"127.0.0.1:{postgres.port}"
    remedies = {
        f"{url}_of_nobody": "createdb --owner=certferry",
        url.replace("certferry@", "nobody@"): "createuser --pwprompt nobody",
        "postgresql://certferry@127.0.0.1:1/tokyo": "PostgreSQL runs on 127.0.0.1, that it listens on port 1",
        "postgresql://certferry@nohost.invalid/tokyo": "getent hosts nohost.invalid",
        f"postgresql://certferry@{here}/tokyo?sslmode=require": "ssl = on",
    }
    for place, remedy in remedies.items():
        with pytest.raises(DatabaseError) as caught:
            Cluster.open(place)
        assert remedy in caught.value.remedy, caught.value.sentence


def test_a_server_whose_certificate_does_not_hold_is_not_confused_with_one_that_is_away(
    make_certificate: MakeCertificate, rsa_key: RSAPrivateKey, tmp_path: Path
) -> None:
    server, stranger = (make_certificate(f"CN={name}") for name in ("db.example.com", "somebody else"))
    with postgres_face(server, rsa_key, tmp_path) as port:
        place = f"postgresql://certferry@127.0.0.1:{port}/tokyo?sslmode=verify-full"
        for root, remedy in ((stranger, "sslrootcert"), (server, "stands in the server's certificate")):
            (tmp_path / "root.pem").write_text(root.pem)
            with pytest.raises(DatabaseError) as caught:
                Cluster.open(f"{place}&sslrootcert={tmp_path / 'root.pem'}")
            assert remedy in caught.value.remedy, caught.value.sentence
        with pytest.raises(DatabaseError, match="does not exist") as caught:
            Cluster.open(f"{place}&sslrootcert={tmp_path / 'nowhere.pem'}")
        assert "sslrootcert=FILE" in caught.value.remedy


@contextmanager
def postgres_face(certificate: Certificate, key: RSAPrivateKey, folder: Path) -> Iterator[int]:
    """What PostgreSQL says before a login: yes to TLS, and its certificate."""
    (folder / "server.pem").write_text(certificate.pem + pem_of(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    class Face(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)  # SSLRequest
            self.request.sendall(b"S")
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as talk:
                talk.recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Face) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving.server_address[1]
        serving.shutdown()


def pem_of(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_connection_without_tls_is_refused_where_the_url_asks_for_it(url: str) -> None:
    with pytest.raises(DatabaseError, match="does not support SSL"):
        Cluster.open(f"{url}?sslmode=require")


# --- the specification of a cluster holds here too


@pytest.mark.slow
def test_what_holds_for_a_cluster_in_a_folder_holds_in_postgresql(postgres: Postgres) -> None:
    rooms = ("phones", "trust_stores", "audit", "resets", "sightings", "counters")
    files = [f"tests/unit/test_cluster_{room}.py" for room in rooms] + [
        "tests/unit/test_web_searches.py",
        "tests/unit/test_web_tries.py",
    ]
    # Unit tests leave it to the garbage collector to close a file; a connection complains of that.
    options = ["-q", "-n0", "-p", "no:unraisableexception", "-p", "no:cacheprovider", "--no-cov"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        env={**os.environ, TEST_SERVER: f"postgresql://certferry@127.0.0.1:{postgres.port}/postgres"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-5000:]


def test_nothing_of_a_cluster_is_made_where_a_server_cannot_be_reached(create: Make, keys_folder: Path) -> None:
    with pytest.raises(DatabaseError, match="refused"):
        create("postgresql://certferry@127.0.0.1:1/tokyo")
    assert not keys_folder.exists()


def test_text_that_postgresql_does_not_keep_is_the_askers_fault_not_the_servers(create: Make, url: str) -> None:
    cluster = create(url)
    with pytest.raises(UnstorableError, match="cannot be kept"):
        cluster.find_trust(TrustQuery(text="\0"), Slice(0, 1))
    with pytest.raises(UnstorableError):
        cluster.accounts.find_user("ann\0")
    assert cluster.phones() == ()
