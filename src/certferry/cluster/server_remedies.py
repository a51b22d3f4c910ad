"""What to do when PostgreSQL does not let certferry in.

It is told from the words of libpq and the server, since what fails before the login has no SQLSTATE. A server that
speaks another language than English gets the usual remedy.
"""

import re

from certferry.cluster.server_address import ServerAddress, password_source

USUAL = "See that PostgreSQL runs and lets this host in. Then run it again."

_REMEDIES = (
    (
        r"no password supplied",
        "No password was tried: {source}. Give one as 'Share a cluster over PostgreSQL' tells.",
    ),
    (
        r"password authentication failed",
        (
            "The password that was tried came from {source}. Mend it there, or give role {user} that password; "
            "PostgreSQL says the same of a role that does not exist."
        ),
    ),
    (
        r'database "[^"]*" does not exist',
        (
            "Have PostgreSQL's administrator create it (createdb --owner={user} {database}), or mend the database's "
            "name in the URL."
        ),
    ),
    (
        r'role "[^"]*" does not exist',
        "Have PostgreSQL's administrator create it (createuser --pwprompt {user}), or mend the user's name in the URL.",
    ),
    (
        r"no pg_hba\.conf entry",
        (
            "Have PostgreSQL's administrator let {user} in from this host to {database}: a line in pg_hba.conf, then a "
            "reload. Where that line asks for TLS, add sslmode=verify-full to the URL."
        ),
    ),
    (
        r"failed to resolve host|could not translate host name",
        "Mend the host's name in the URL, or see that this machine can look it up: getent hosts {host}",
    ),
    (
        r"does not support SSL",
        "Switch TLS on at the server (ssl = on), or lower sslmode in the URL where the network is trusted.",
    ),
    (
        r"root certificate file .* does not exist",
        "Name the file of the CA that issued the server's certificate: sslrootcert=FILE in the URL.",
    ),
    (
        r"does not match host name",
        "Give the host in the URL the name that stands in the server's certificate, or have one issued for {host}.",
    ),
    (
        r"certificate verify failed|certificate has expired",
        (
            "See that sslrootcert in the URL names the CA that issued the server's certificate, and that the "
            "certificate is valid today. Do not lower sslmode before you know why."
        ),
    ),
    (
        r"certificate required|certificate file|private key file",
        (
            "See that sslcert and sslkey in the URL name a certificate and its key, that you alone can read the key, "
            "and that the server's ssl_ca_file trusts it."
        ),
    ),
    (
        r"timeout expired|timed out|No route to host|unreachable",
        "{host} does not answer: see the way there, and whether a firewall drops port {port}. Then run it again.",
    ),
    (
        r"Connection refused|No such file or directory",
        (
            "See that PostgreSQL runs on {host}, that it listens on port {port} (listen_addresses, port), and that no "
            "firewall answers for it. Then run it again."
        ),
    ),
    (
        r"too many clients|connection slots",
        "Raise max_connections at the server, or stop what holds connections.",
    ),
    (
        r"the database system is",
        "PostgreSQL is starting, stopping or recovering: wait a moment, then run it again.",
    ),
    (
        r"permission denied for",
        "Have the owner of the tables grant role {user} what it needs, or connect as the owner.",
    ),
    (
        r"read-only transaction",
        "Name the primary server in the URL, or add target_session_attrs=read-write to it.",
    ),
)
"""Parts of what libpq and the server say, the most telling first, and what to do."""


def remedy_of(told: str, server: ServerAddress) -> str | None:
    """Return what to do about ``told``, which names where the password came from; None for what is not known."""
    for words, remedy in _REMEDIES:
        if re.search(words, told):
            source = password_source(server, told) if "{source}" in remedy else ""
            return remedy.format(source=source, **_names(server))
    return None


def _names(server: ServerAddress) -> dict[str, str]:
    url = server.url
    host = url.host or url.query.get("host") or "the server"
    port = url.port or url.query.get("port") or 5432
    user, database = url.username or "USER", url.database or "DATABASE"
    return {"host": str(host), "port": str(port), "user": user, "database": database}
