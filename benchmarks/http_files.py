"""HTTP 6970: what one small file costs the server, beside nginx with its files open.

In turns, so that what else the machine does meets both. Kept: the connection stays for the next request; closed: each
request has its own. Nginx runs one worker, ``open_file_cache`` on, no access log, many requests allowed a connection.
The load generator is ``load/http_load.c``; CPU is the server's, from the operating system.
"""

import argparse
import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from processes import MissingError, certferry_files, compiled, cpu_seconds, is_listening_tcp, program, running, until

FILE = "SEP0011223344AA.cnf.xml.sgn"
SIZE = 4096
ADDRESS = "127.0.0.80"
NGINX_PORT = 16970
REQUESTS = 20_000
AT_ONCE = 50
ROUNDS = 5
KINDS = {"kept": "keep", "closed": "close"}

NGINX = """
daemon off; worker_processes 1; pid {place}/pid; error_log /dev/null crit; user root;
events {{ worker_connections 4096; }}
http {{
    access_log off; open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h; keepalive_requests 1000000000;
    tcp_nodelay on; default_type */*; sendfile {sendfile};
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    server {{ listen {address}:{port} backlog=1024; root {folder}; }}
}}
"""

Server = Callable[[Path], contextlib.AbstractContextManager[tuple[int, int]]]


@contextlib.contextmanager
def certferry(folder: Path) -> Iterator[tuple[int, int]]:
    """Certferry's own service."""
    with certferry_files(ADDRESS, folder) as (pid, ports):
        yield pid, ports["http"]


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[tuple[int, int]]:
    """Nginx with one worker."""
    server = program("nginx")
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "nginx.conf"
        text = NGINX.format(place=place, address=ADDRESS, port=NGINX_PORT, folder=folder, sendfile="on")
        settings.write_text(text)
        with running([server, "-c", settings, "-p", place]) as pid:
            until(lambda: is_listening_tcp(NGINX_PORT), "nginx")
            yield pid, NGINX_PORT


REASON = (
    "closed: each accepted descriptor becomes an object, for which CPython asks getsockname(), a system call that "
    "nginx has no need of; against that nginx registers each in its epoll, and certferry none that is answered at once"
)

SERVERS: dict[str, Server] = {"certferry": certferry, "nginx": nginx}


def load(port: int, requests: int, how: str) -> dict[str, Any]:
    """Let 50 phones at once ask so often."""
    command = [compiled("load/http_load.c"), ADDRESS, port, requests, AT_ONCE, FILE, SIZE, how]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(requests: int = REQUESTS, rounds: int = ROUNDS, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return for each server and kind its cost, or why it was skipped."""
    result: dict[str, Any] = {"file bytes": SIZE, "requests": requests * rounds, "at once": AT_ONCE, "servers": {}}
    result["reason"] = REASON
    rows = result["servers"]
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / FILE).write_bytes(bytes(SIZE))
        up: dict[str, tuple[int, int]] = {}
        for name in only or SERVERS:
            try:
                up[name] = stack.enter_context(SERVERS[name](folder))
            except MissingError as reason:
                rows[name] = {"skipped": str(reason)}
            else:
                rows[name] = {kind: {"each round": [], "rates": [], "p99 ms": [], "failed": 0} for kind in KINDS}
        for _ in range(rounds):
            for kind, how in KINDS.items():
                for name, (pid, port) in up.items():
                    _one_round(rows[name][kind], pid, port, requests, how)
        for name in up:
            for kind in KINDS:
                row = rows[name][kind]
                row |= {"ms": median(row["each round"]), "requests/s": median(row["rates"])}
                row["p99 ms"] = median(row["p99 ms"])
    return result


def _one_round(row: dict[str, Any], pid: int, port: int, requests: int, how: str) -> None:
    before = cpu_seconds(pid)
    done = load(port, requests, how)
    row["each round"].append((cpu_seconds(pid) - before) / requests * 1000)
    row["rates"].append(done["right"] / done["seconds"])
    row["p99 ms"].append(done["p99"])
    row["failed"] += done["wrong"]


def report(result: dict[str, Any]) -> None:
    """Print a table."""
    rows = result["servers"]
    print(f"{result['file bytes']} bytes, {result['at once']} at once, median of the rounds")
    print(f"{'server':<11}{'connection':<12}{'ms CPU':>8}{'x nginx':>9}{'requests/s':>12}{'p99 ms':>8}{'failed':>8}")
    for name, kinds in rows.items():
        if "skipped" in kinds:
            print(f"{name:<11} skipped: {kinds['skipped']}")
            continue
        for kind, row in kinds.items():
            base = rows.get("nginx", {}).get(kind, {}).get("ms")
            ratio = f"{row['ms'] / base:>9.2f}" if base else f"{'-':>9}"
            rate = f"{row['requests/s']:>12.0f}{row['p99 ms']:>8.1f}"
            print(f"{name:<11}{kind:<12}{row['ms']:>8.4f}{ratio}{rate}{row['failed']:>8}")
    print(result["reason"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="*", default=(), choices=list(SERVERS))
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    chosen = parser.parse_args()
    result = measure(chosen.requests, chosen.rounds, tuple(chosen.only))
    if chosen.json:
        print(json.dumps(result))
    else:
        report(result)


if __name__ == "__main__":
    main()
