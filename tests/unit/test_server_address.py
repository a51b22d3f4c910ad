"""Where a cluster in PostgreSQL is: the URL, never with a password, and the key file beside it."""

from pathlib import Path

import pytest

from certferry.cluster.location import KEY_VARIABLE, ClusterLocation, ClusterLocationError
from certferry.cluster.server_address import (
    PASSWORD_FILE_VARIABLE,
    PASSWORD_VARIABLE,
    PasswordInUrlError,
    ServerAddress,
    ServerAddressError,
    password,
)
from command_line import certferry

URL = "postgresql://ferry@db.example.com/tokyo"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in (KEY_VARIABLE, PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "certferry"


# --- the URL


@pytest.mark.parametrize("url", [URL, URL.replace("postgresql", "postgres"), f"{URL}?sslmode=verify-full"])
def test_a_url_names_user_host_and_database(url: str) -> None:
    address = ServerAddress.parse(url)
    assert (address.url.username, address.url.host, address.url.database) == ("ferry", "db.example.com", "tokyo")
    assert address.schema == "public"


def test_what_is_for_libpq_is_handed_on_and_the_rest_is_not() -> None:
    address = ServerAddress.parse(f"{URL}?sslmode=verify-full&sslrootcert=/etc/ca.pem&schema=east&seal_key=/etc/k")
    assert dict(address.url.query) == {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem"}
    assert (address.schema, address.key_file) == ("east", Path("/etc/k"))


def test_a_socket_folder_may_be_named_instead_of_a_host() -> None:
    assert ServerAddress.parse("postgresql:///tokyo?host=/run/postgresql").url.query["host"] == "/run/postgresql"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ferry:s3cret@db/tokyo",
        "postgresql://ferry:@db/tokyo?schema=s3cret",
        "postgresql://ferry:s3cret/with@db/tokyo",
        "postgresql://ferry:s3cret@with@db/tokyo",
        "postgresql://ferry@db/tokyo?password=s3cret",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(PasswordInUrlError) as caught:
        ClusterLocation.parse(url)
    assert "s3cret" not in str(caught.value) + caught.value.remedy + repr(caught.value.__cause__)
    ended = certferry("cluster", "show", "--cluster", url)
    assert ended.code == 1
    assert "s3cret" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://db", "names no database"),
        ("postgresql://db:port/s3cret", "cannot be read"),
        (f"{URL}?application_name=x", "an option 'application_name'"),
        (f"{URL}?options=-csearch_path=x", "an option 'options'"),
        (f"{URL}?schema=East", "no schema for a cluster"),
        (f"{URL}?schema=a%22b", "no schema for a cluster"),
        (f"{URL}?schema=pg_catalog", "no schema for a cluster"),
        (f"{URL}?schema={'x' * 41}", "no schema for a cluster"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, told: str) -> None:
    with pytest.raises(ServerAddressError, match=told) as caught:
        ServerAddress.parse(url)
    assert "s3cret" not in str(caught.value)


def test_a_cluster_in_postgresql_has_no_folder() -> None:
    location = ClusterLocation.parse(URL)
    assert location.text == URL
    for name in ("folder", "database"):
        with pytest.raises(ClusterLocationError, match="is not a folder"):
            getattr(location, name)


# --- the key file


def test_the_key_file_is_in_the_users_configuration_under_the_databases_name(home: Path) -> None:
    assert ClusterLocation.parse(URL).key_file == home / "tokyo.key"
    assert ClusterLocation.parse(f"{URL}?schema=east").key_file == home / "tokyo.east.key"


def test_the_environment_names_the_key_file_or_a_folder_of_key_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path))
    assert ClusterLocation.parse(URL).key_file == tmp_path / "tokyo.key"
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "some.key"))
    assert ClusterLocation.parse(URL).key_file == tmp_path / "some.key"


def test_the_url_names_the_key_file_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "/etc/another.key")
    assert ClusterLocation.parse(f"{URL}?seal_key=/etc/this.key").key_file == Path("/etc/this.key")


def test_a_databases_name_leads_to_no_other_folder(home: Path) -> None:
    assert ClusterLocation.parse("postgresql://db/..%2Fup").key_file.parent == home


def test_a_cluster_in_a_folder_has_its_key_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "/etc/another.key")
    assert ClusterLocation.parse(tmp_path).key_file == tmp_path / "seal.key"


# --- the password


def test_without_a_word_the_password_is_left_to_libpq() -> None:
    assert password() is None


def test_the_password_is_in_the_environment_or_better_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")
    assert password() == "from the environment"
    file = tmp_path / "password"
    file.write_text("from a file\n")
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(file))
    assert password() == "from a file"


def test_a_password_file_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ServerAddressError, match="cannot read the password file"):
        password()
