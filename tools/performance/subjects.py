"""What is measured: each benchmark with the promise it is held against, its picture, and what to know of its method."""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bars import Bar, Group

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Figures = Mapping[str, Any]
OURS = "certferry"


@dataclass(frozen=True)
class Promise:
    """A target, and what was measured of it."""

    text: str
    target: str
    measured: Callable[[Figures], str]


@dataclass(frozen=True)
class Picture:
    """A picture of bars."""

    title: str
    unit: str
    groups: Callable[[Figures], Sequence[Group]]


@dataclass(frozen=True)
class Subject:
    """One benchmark, and the text around its figures."""

    name: str
    title: str
    method: str
    promises: tuple[Promise, ...] = ()
    picture: Picture | None = None
    options: tuple[str, ...] = ("--json",)
    """Without ``--json``: a benchmark that only prints."""
    skipped: Callable[[Figures], str] = field(default=lambda figures: str(figures.get("skipped") or ""))

    def told(self, figures: Figures) -> str:
        """Write the figures as the benchmark itself prints them."""
        if "text" in figures:
            return str(figures["text"]).strip("\n")
        if str(BENCHMARKS) not in sys.path:
            sys.path.insert(0, str(BENCHMARKS))
        module = importlib.import_module(self.name)
        if hasattr(module, "described"):
            return str(module.described(figures)).strip("\n")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            module.report(figures)
        return printed.getvalue().strip("\n")


def _of_servers(figures: Figures, key: str) -> tuple[Bar, ...]:
    rows = figures["servers"]
    return tuple(Bar(name, row[key], name == OURS) for name, row in rows.items() if "skipped" not in row)


def _tvs_groups(figures: Figures) -> list[Group]:
    return [
        Group(kind["name"], tuple(Bar(name, row["cpu_ms"], name == OURS) for name, row in kind["servers"].items()))
        for kind in figures["kinds"]
    ]


def _tvs_ratio(figures: Figures) -> str:
    ratios = [kind["ratio"] for kind in figures["kinds"]]
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def _crowd(figures: Figures, what: str, key: str, form: str) -> str:
    ours = next(row for name, row in figures["crowd"].items() if name == OURS)
    found = next(row for name, row in ours.items() if what in name)
    return form.format(found[key])


def _tftp_ratio(figures: Figures) -> str:
    rows = figures["servers"]
    if "skipped" in rows.get("dnsmasq", {"skipped": ""}):
        return "dnsmasq is not there"
    return f"{rows[OURS]['ms'] / rows['dnsmasq']['ms']:.2f}"


def _tftp_bursts(figures: Figures, key: str) -> str:
    return ", ".join(f"{burst['phones']}: {burst[key]}" for burst in figures["servers"][OURS]["bursts"])


def _http_groups(figures: Figures) -> list[Group]:
    rows = {name: kinds for name, kinds in figures["servers"].items() if "skipped" not in kinds}
    kinds = next(iter(rows.values()))
    return [Group(kind, tuple(Bar(name, rows[name][kind]["ms"], name == OURS) for name in rows)) for kind in kinds]


def _http_ratio(figures: Figures) -> str:
    rows = figures["servers"]
    if "skipped" in rows.get("nginx", {"skipped": ""}):
        return "nginx is not there"
    return ", ".join(f"{kind} {rows[OURS][kind]['ms'] / rows['nginx'][kind]['ms']:.2f}" for kind in rows[OURS])


def _phone_groups(figures: Figures) -> list[Group]:
    ours = (Bar("certferry, registration too", figures["whole"], ours=True),)
    bars = (Bar("certferry", figures["without registering"], ours=True), Bar("dnsmasq + C/libssl", figures["peers"]))
    return [Group("", (*bars, *ours))]


def _best(figures: Figures, key: str, form: str) -> str:
    return ", ".join(f"{count} workers: {form.format(row[key])}" for count, row in figures["workers"].items())


SUBJECTS = (
    Subject(
        "tvs",
        "TVS: one TLS handshake, one question, one answer",
        "A load generator in C opens a connection for each question, without resumption, as phones do. The floor is a "
        "server in C of eight threads that does the same handshake by the same libssl and answers with bytes it has "
        "ready: no Python can be cheaper. Both run in turns; the ratio is the median over the rounds. Ours is the full "
        "service: counters, limits, deadlines, both commands, a batched log line.",
        (
            Promise("server CPU for each verification, beside C/libssl", "at most 1.25", _tvs_ratio),
            Promise("p99 at 400 at once", "under 500 ms", lambda f: _crowd(f, "at once", "p99_ms", "{:.0f} ms")),
            Promise("failures among 1,000 phones in one moment", "0", lambda f: _crowd(f, "burst", "failed", "{}")),
            Promise("failures beside idle and dripping peers", "0", lambda f: str(f["beside hostile peers"]["failed"])),
        ),
        Picture("TVS: server CPU for each question", "ms, less is better", _tvs_groups),
        skipped=lambda figures: str(figures.get("skipped", {}).get("all", "")),
    ),
    Subject(
        "tftp",
        "TFTP: a file of 4 KB in blocks of 512 bytes",
        "A load generator in C speaks as phones do: a new port for each file, no options, the request again after a "
        "second without an answer. Servers take turns. CPU is the server's and that of its children.",
        (
            Promise("server CPU for each transfer, beside dnsmasq", "at most 1", _tftp_ratio),
            Promise("requests repeated in a burst", "0 of 1,000", lambda f: _tftp_bursts(f, "repeated")),
            Promise("phones not served in a burst", "0 of 5,000", lambda f: _tftp_bursts(f, "failed")),
        ),
        Picture("TFTP: server CPU for each file", "ms, less is better", lambda f: [Group("", _of_servers(f, "ms"))]),
    ),
    Subject(
        "http_files",
        "HTTP 6970: the same files over HTTP",
        "nginx keeps its files open (`open_file_cache`) and logs nothing. Both ways of asking are measured: a "
        "connection for each file, as phones do, and one connection for many.",
        (Promise("server CPU for each file, beside nginx", "at most 1", _http_ratio),),
        Picture("HTTP: server CPU for each file", "ms, less is better", _http_groups),
    ),
    Subject(
        "whole_phone",
        "A whole phone: its files, its question, its registration",
        "What `certferry serve` costs for everything one phone wants, each phone with a configuration of its own; "
        "beside it dnsmasq for the same files and the server in C for the same question. Neither of these registers "
        "phones, so the ratio is told with our registrar and without it.",
        (
            Promise(
                "server CPU, beside dnsmasq + C/libssl", "at most 1.3",
                lambda f: f"{f['without registering'] / f['peers']:.2f}; registering too {f['whole'] / f['peers']:.2f}",
            ),
        ),
        Picture("A whole phone: server CPU", "ms, less is better", _phone_groups),
    ),
    Subject(
        "cold_start",
        "A cold start with 40,000 phones",
        "Nothing is signed when the service starts. A file that is asked for before its turn is signed at once; all "
        "others are signed behind it on all cores, once for all workers, and kept for the next start.",
        (
            Promise("first file served", "at once", lambda f: _best(f, "first file s", "{:.1f} s")),
            Promise("memory", "under 1.5 GB", lambda f: _best(f, "memory MB", "{:.0f} MB")),
        ),
    ),
    Subject(
        "migration",
        "Phones that migrate",
        "Phones and servers share this machine, so this is the rate of both together; the cost of the cryptography "
        "alone stands beside it.",
        options=("--phones", "2000"),
    ),
    Subject(
        "trust_lists",
        "Trust lists",
        "What it costs to choose, build and sign the ITL of a large cluster.",
        options=(),
    ),
    Subject(
        "bulk_exchange", "The exchange directory",
        "Export, consolidate, plan and import against OpenSSH's server; beside it `sftp -b` moves the same files.",
        options=(),
    ),
    Subject(
        "web_api", "Pages and API",
        "One cluster with 10,000 trust certificates and 40,000 phones, and an exchange directory with the files of "
        "twenty clusters. What is measured is the server's own time, the drawing of the page included.",
        (Promise("any page", "under 100 ms", lambda f: f"slowest {f['slowest_median_ms']:.0f} ms"),),
    ),
    Subject(
        "several_machines", "One cluster on several machines",
        "21 node processes on one PostgreSQL, with 100,000 trust certificates and 40,000 phones. The time runs from "
        "the end of the import's transaction until the last node answers from it. All nodes share the cores of one "
        "machine here: their CPU for an import, one after the other, is most of that time.",
        (
            Promise(
                "an import is served by all nodes", "within 1 s",
                lambda f: "median {:.2f} s, worst {:.2f} s".format(
                    f["import"]["last node ms, median"] / 1000, f["import"]["last node ms, worst"] / 1000
                ),
            ),
        ),
    ),
    Subject(
        "soak", "Ten minutes of everything at once",
        "Phones are reset without a pause and move to and fro between two clusters, while certificates are regenerated "
        "and exchanged anew, and nodes are restarted. The publishers live through all of it: their memory and "
        "descriptors are compared.",
        (
            Promise("phones that should have moved and did not", "0", lambda f: str(len(f["failed"]))),
        ),
    ),
)  # fmt: skip
