"""What ``certferry serve`` logs, and how much it takes at once."""

import logging
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from certferry.cli.logs import LogLevel, log_on_stderr, log_plainly
from certferry.cli.serve_limits import words_of
from certferry.cluster.values import Service
from certferry.lab.keys import PooledKeys
from certferry.serve.http import HttpFileServer
from certferry.serve.node import NodeServices, ServeOptions
from certferry.serve.registrar import Registrar
from certferry.serve.snapshot import Snapshot
from certferry.serve.tvs import TvsServer
from certferry.serve.watching import Watcher
from command_line import certferry, loopback_cluster
from conftest import MakeCluster


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """certferry's logger, left as it was."""
    logger = logging.getLogger("certferry")
    before = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


def logged(level: LogLevel, message: str, *values: object, at: int = logging.INFO) -> str:
    told = StringIO()
    with redirect_stderr(told):
        log_on_stderr(level)
        logging.getLogger("certferry.serve.tvs").log(at, message, *values)
    return told.getvalue()


def test_a_line_has_time_level_and_origin() -> None:
    line = logged(LogLevel.INFO, "TVS %s so far", "127.0.0.1:2445")
    assert line.endswith(" INFO certferry.serve.tvs: TVS 127.0.0.1:2445 so far\n")
    assert line[:2] == "20"


@pytest.mark.parametrize(("level", "told"), [(LogLevel.DEBUG, True), (LogLevel.INFO, True), (LogLevel.WARNING, False)])
def test_what_is_below_the_level_is_not_told(level: LogLevel, *, told: bool) -> None:
    assert bool(logged(level, "something")) is told


def test_what_a_peer_chose_cannot_write_lines_of_its_own_or_steer_a_terminal() -> None:
    line = logged(LogLevel.INFO, "asked for %s", "a\n2026-01-01 INFO certferry: all is well\x1b[2J\x9b\u202e大阪")
    assert line.count("\n") == 1
    assert "\\n2026-01-01" in line
    assert "\\x1b[2J\\x9b\\u202e大阪" in line


def fail(text: str) -> None:
    raise ValueError(text)


def failing(text: str) -> None:
    """Fail in words that a stranger chose, and log it."""
    try:
        fail(text)
    except ValueError:
        logging.getLogger("certferry.web").exception("defect")


EVIL = "no\n2026-01-01 INFO certferry: all is well\x1b[2J"


def test_nor_can_he_in_the_words_of_an_exception() -> None:
    told = StringIO()
    with redirect_stderr(told):
        log_on_stderr(LogLevel.WARNING)
        failing(EVIL)
    first, *traceback = told.getvalue().splitlines()
    assert first.endswith("ERROR certferry.web: defect")
    assert all(line.startswith("  ") for line in traceback)
    assert "\x1b" not in told.getvalue()


def test_where_no_log_was_set_up_it_is_written_as_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    told = StringIO()
    monkeypatch.setattr(logging, "lastResort", None)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own
    with redirect_stderr(told):
        log_plainly()
        failing(EVIL)
        logging.getLogger("uvicorn.error").warning("odd request %s", EVIL)
    lines = [line for line in told.getvalue().splitlines() if not line.startswith("  ")]
    assert len(lines) == 2
    assert "\x1b" not in told.getvalue()


def test_set_up_again_each_line_is_still_written_once() -> None:
    logged(LogLevel.INFO, "first")
    assert logged(LogLevel.INFO, "second").count("second") == 1


def test_libraries_stay_at_their_own_level() -> None:
    told = StringIO()
    with redirect_stderr(told):
        log_on_stderr(LogLevel.DEBUG)
        logging.getLogger("sqlalchemy.engine").info("SELECT of a sealed key")
    assert told.getvalue() == ""


@pytest.mark.parametrize("words", [["--log-level", "loud"], ["--max-tvs", "0"], ["--max-from-one-address", "many"]])
def test_a_setting_that_cannot_be_is_wrong_usage(tmp_path: Path, key_pool: PooledKeys, words: list[str]) -> None:
    loopback_cluster(tmp_path / "own", key_pool).close()
    ended = certferry("serve", "--cluster", tmp_path / "own", *words)
    assert ended.code == 2
    assert words[0] in ended.stderr


def test_the_level_may_come_from_the_environment(
    tmp_path: Path, key_pool: PooledKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback_cluster(tmp_path / "own", key_pool).close()
    monkeypatch.setenv("CERTFERRY_LOG_LEVEL", "loud")
    assert certferry("serve", "--cluster", tmp_path / "own").code == 2


def bounds_of(services: NodeServices) -> dict[str, int]:
    tvs, http, sip = (services.server(service) for service in (Service.TVS, Service.HTTP, Service.SIP))
    assert isinstance(tvs, TvsServer)
    assert isinstance(http, HttpFileServer)
    assert isinstance(sip, Registrar)
    return {
        "tvs": tvs._listener._max_connections,
        "tvs from one": tvs._listener._max_from_one_address,
        "http": http._connection_limit,
        "http from one": http._limit_from_one_address,
        "phones": sip._listener._max_connections,
        "sip from one": sip._listener._max_from_one_address,
    }


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        (
            ServeOptions(most_phones=1000),
            {"tvs": 8000, "tvs from one": 6000, "http": 8192, "http from one": 4096}
            | {"phones": 1000, "sip from one": 750},
        ),
        (
            ServeOptions(most_phones=30, most_tvs=50, most_http=40, most_from_one_address=3),
            {"tvs": 50, "tvs from one": 3, "http": 40, "http from one": 3, "phones": 30, "sip from one": 3},
        ),
    ],
)
def test_a_node_takes_at_once_what_it_is_let(
    make_cluster: MakeCluster, options: ServeOptions, bounds: dict[str, int]
) -> None:
    cluster = make_cluster(nodes=1)
    (node,) = cluster.nodes()
    services = NodeServices(node, Snapshot.load(cluster, [node.name]), options, watch=Watcher(cluster).at(node.name))
    assert bounds_of(services) == bounds


def test_workers_are_told_what_their_parent_was_told() -> None:
    options = ServeOptions(allow_tls10=True, most_phones=3, most_tvs=1, most_http=2, most_from_one_address=4)
    told = "--max-tvs 1 --max-http 2 --max-phones 3 --max-from-one-address 4 --allow-tls10"
    assert words_of(options) == told.split()
    assert words_of(ServeOptions()) == ["--max-tvs", "8000", "--max-http", "8192"]
