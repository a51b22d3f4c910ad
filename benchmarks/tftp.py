"""TFTP: what one 4 KB file in 512-byte blocks costs each server, and what becomes of bursts.

Certferry beside dnsmasq, tftpd-hpa and atftpd, in turns, so that what else the machine does meets all of them. The
load generator is ``load/tftp_load.c``; the CPU is the server's, from the operating system, its children included.
A burst is a number of phones that ask in the same moment; what gets lost they ask for again after a second.
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

from processes import MissingError, certferry_files, compiled, cpu_seconds, is_bound_udp, program, running, until

FILE = "SEP0011223344AA.cnf.xml.sgn"
SIZE = 4096
ADDRESS = "127.0.0.69"
"""An address of its own, for dnsmasq listens on port 69 and no other."""
TRANSFERS = 4000
AT_ONCE = 50
ROUNDS = 5
BURSTS = (1000, 5000)

Server = Callable[[Path], contextlib.AbstractContextManager[tuple[int, int]]]
"""Given a folder of files, runs a server and tells its process id and port."""


@contextlib.contextmanager
def certferry(folder: Path) -> Iterator[tuple[int, int]]:
    """Certferry's own service."""
    with certferry_files(ADDRESS, folder) as (pid, ports):
        yield pid, ports["tftp"]


@contextlib.contextmanager
def dnsmasq(folder: Path) -> Iterator[tuple[int, int]]:
    """Dnsmasq with DNS off, its log too, and no limit in the way."""
    options = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--enable-tftp", f"--tftp-root={folder}"]
    options += [f"--listen-address={ADDRESS}", "--bind-interfaces", "--tftp-max=10000", "--quiet-tftp", "--user=root"]
    options += ["--pid-file", "--log-facility=/dev/null"]
    with running([program("dnsmasq"), *options]) as pid:
        until(lambda: is_bound_udp(69), "dnsmasq (it needs port 69, so root)")
        yield pid, 69


@contextlib.contextmanager
def tftpd_hpa(folder: Path) -> Iterator[tuple[int, int]]:
    """H. P. Anvin's server, which forks for each request."""
    server = program("in.tftpd")
    if b"tftp-hpa" not in subprocess.run([server, "-V"], capture_output=True, check=False).stdout:
        raise MissingError("in.tftpd here is not that of tftpd-hpa")
    with running([server, "-L", "-u", "root", "-a", f"{ADDRESS}:10069", "-s", folder]) as pid:
        until(lambda: is_bound_udp(10069), "in.tftpd")
        yield pid, 10069


@contextlib.contextmanager
def atftpd(folder: Path) -> Iterator[tuple[int, int]]:
    """The multi-threaded server."""
    options = ["--daemon", "--no-fork", "--bind-address", ADDRESS, "--port", "10070", "--maxthread", "10000"]
    options += ["--user", "root", "--group", "root", "--verbose=0", "--logfile", "/dev/null"]
    with running([program("atftpd"), *options, folder]) as pid:
        until(lambda: is_bound_udp(10070), "atftpd")
        yield pid, 10070


NOTES = {"tftpd-hpa": "lets the kernel reap its children: what they used, most of it, is accounted to nobody"}

SERVERS: dict[str, Server] = {"certferry": certferry, "dnsmasq": dnsmasq, "tftpd-hpa": tftpd_hpa, "atftpd": atftpd}


def load(port: int, transfers: int, at_once: int, *files: str, address: str = ADDRESS) -> dict[str, Any]:
    """Let so many phones fetch the files; each file is NAME:SIZE as ``tftp_load`` takes it."""
    generator = compiled("load/tftp_load.c")
    command = [generator, address, port, transfers, at_once, *files]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(
    transfers: int = TRANSFERS, rounds: int = ROUNDS, bursts: tuple[int, ...] = BURSTS, only: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return for each server its cost and its bursts, or why it was skipped."""
    result: dict[str, Any] = {"file bytes": SIZE, "transfers": transfers * rounds, "at once": AT_ONCE, "servers": {}}
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / FILE).write_bytes(bytes(SIZE))
        servers = {name: SERVERS[name] for name in only} or SERVERS
        up = {name: _up(stack, server, folder, name, result["servers"]) for name, server in servers.items()}
        running_ones = {name: each for name, each in up.items() if each}
        for _ in range(rounds):
            for name, (pid, port) in running_ones.items():
                _one_round(result["servers"].setdefault(name, _nothing()), pid, port, transfers)
        for name, (_, port) in running_ones.items():
            row = result["servers"][name]
            row["note"] = NOTES.get(name, "")
            row["ms"] = median(row["each round"])
            row["files/s"] = median(row["rates"])
            row["bursts"] = [_burst(port, size) for size in bursts]
    return result


def _up(
    stack: contextlib.ExitStack, server: Server, folder: Path, name: str, rows: dict[str, Any]
) -> tuple[int, int] | None:
    try:
        return stack.enter_context(server(folder))
    except MissingError as reason:
        rows[name] = {"skipped": str(reason)}
        return None


def _nothing() -> dict[str, Any]:
    return {"each round": [], "rates": [], "failed": 0, "repeated": 0}


def _one_round(row: dict[str, Any], pid: int, port: int, transfers: int) -> None:
    before = cpu_seconds(pid)
    done = load(port, transfers, AT_ONCE, f"{FILE}:{SIZE}")
    row["each round"].append((cpu_seconds(pid) - before) / transfers * 1000)
    row["rates"].append(done["right"] / done["seconds"])
    row["failed"] += done["wrong"]
    row["repeated"] += done["repeated"]


def _burst(port: int, size: int) -> dict[str, Any]:
    done = load(port, size, size, f"{FILE}:{SIZE}")
    return {"phones": size, "failed": done["wrong"], "repeated": done["repeated"], "p99 ms": done["p99"]}


def report(result: dict[str, Any]) -> None:
    """Print a table."""
    rows = result["servers"]
    base = rows.get("dnsmasq", {}).get("ms")
    print(f"{result['file bytes']} bytes in blocks of 512, {result['at once']} at once, median of the rounds")
    print(f"{'server':<11}{'ms CPU':>8}{'x dnsmasq':>11}{'files/s':>9}  {'bursts: failed, repeated, p99 ms'}")
    for name, row in rows.items():
        if "skipped" in row:
            print(f"{name:<11} skipped: {row['skipped']}")
            continue
        ratio = f"{row['ms'] / base:>11.2f}" if base else f"{'-':>11}"
        bursts = "; ".join(f"{b['phones']}: {b['failed']}, {b['repeated']}, {b['p99 ms']:.0f}" for b in row["bursts"])
        note = f"\n{'':<11} {row['note']}" if row["note"] else ""
        print(f"{name:<11}{row['ms']:>8.3f}{ratio}{row['files/s']:>9.0f}  {bursts}{note}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transfers", type=int, default=TRANSFERS, help="in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--bursts", type=int, nargs="*", default=BURSTS)
    parser.add_argument("--only", nargs="*", default=(), choices=list(SERVERS))
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    chosen = parser.parse_args()
    result = measure(chosen.transfers, chosen.rounds, tuple(chosen.bursts), tuple(chosen.only))
    if chosen.json:
        print(json.dumps(result))
    else:
        report(result)


if __name__ == "__main__":
    main()
