"""What to do when PostgreSQL does not let certferry in, told from libpq's words; servers say them in end_to_end."""

import pytest

from certferry.cluster.server_address import ServerAddress
from certferry.cluster.server_remedies import remedy_of

SERVER = ServerAddress.parse("postgresql://ferry@db.example.com:5433/tokyo")
BEFORE = 'connection failed: connection to server at "192.0.2.7", port 5433 failed: '
TOLD = {
    'FATAL:  no pg_hba.conf entry for host "192.0.2.9", user "ferry", database "tokyo", no encryption': "pg_hba.conf",
    "SSL error: certificate verify failed": "sslrootcert",
    'server certificate for "pg.example.com" does not match host name "db.example.com"': "issued for db.example.com",
    'could not open certificate file "/x.pem": No such file or directory': "sslcert and sslkey",
    'private key file "/x.key" has group or world access': "sslcert and sslkey",
    "timeout expired": "db.example.com does not answer",
    "FATAL:  sorry, too many clients already": "max_connections",
    "FATAL:  the database system is starting up": "wait a moment",
    "cannot execute UPDATE in a read-only transaction": "target_session_attrs",
    "permission denied for table fact": "grant role ferry",
}


@pytest.mark.parametrize(("told", "remedy"), TOLD.items())
def test_each_way_of_not_being_let_in_has_a_remedy(told: str, remedy: str) -> None:
    assert remedy in (remedy_of(f"{BEFORE}{told}", SERVER) or "")


def test_what_is_not_known_is_not_explained() -> None:
    assert remedy_of(f"{BEFORE}FATAL:  Passwort-Authentifizierung gescheitert", SERVER) is None


def test_names_in_a_url_are_not_taken_for_gaps() -> None:
    server = ServerAddress.parse("postgresql://fe%7Brry@db.example.com/{source}")
    assert "createdb --owner=fe{rry {source}" in (remedy_of('database "{source}" does not exist', server) or "")


def test_a_server_without_a_host_in_its_url_is_called_the_server() -> None:
    told = "connection is bad: No such file or directory"
    assert "runs on the server" in (remedy_of(told, ServerAddress.parse("postgresql:///tokyo")) or "")
    by_option = ServerAddress.parse("postgresql:///tokyo?host=/run/postgresql&port=5433")
    assert "runs on /run/postgresql, that it listens on port 5433" in (remedy_of(told, by_option) or "")
