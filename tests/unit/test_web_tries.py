"""How often something was tried, counted in the cluster's database for all servers."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from certferry.cluster import schema, web_tries
from certferry.cluster.cluster import Cluster
from certferry.cluster.web_tries import AHEAD, Rate, WebTries
from conftest import MakeCluster
from web_site import START

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
THRICE = Rate(3, MINUTE)
ANN = {"ann": THRICE}


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def tries(cluster: Cluster) -> WebTries:
    return cluster.web_tries


@pytest.fixture
def full(tries: WebTries) -> WebTries:
    """Ann was tried as often as may be."""
    for _ in range(3):
        assert tries.take(ANN, START) == {}
    return tries


def rows(cluster: Cluster) -> list[tuple[str, str, int, str]]:
    with cluster._database.read() as connection:
        return [tuple(row) for row in connection.execute(select(schema.web_try))]


def test_as_many_tries_as_allowed_go_through_and_the_next_has_to_wait(full: WebTries) -> None:
    assert full.take(ANN, START + 20 * SECOND) == {"ann": 40 * SECOND}


def test_another_server_and_one_that_starts_anew_count_on(full: WebTries, cluster: Cluster) -> None:
    other = Cluster.open(cluster.location.text)
    assert other.web_tries.take(ANN, START) == {"ann": MINUTE}
    other.close()


def test_tries_count_for_the_window_that_follows_each_of_them(tries: WebTries) -> None:
    for second in (0, 20, 40):
        assert not tries.take(ANN, START + second * SECOND)
    assert tries.take(ANN, START + 59 * SECOND) == {"ann": SECOND}
    assert not tries.take(ANN, START + MINUTE)
    assert tries.take(ANN, START + MINUTE) == {"ann": 20 * SECOND}


def test_a_refused_try_does_not_make_the_wait_longer(full: WebTries) -> None:
    full.take(ANN, START + 59 * SECOND)
    assert not full.take(ANN, START + MINUTE)


def test_keys_do_not_hinder_each_other(full: WebTries) -> None:
    assert not full.take({"bob": THRICE}, START)


def test_of_several_keys_all_are_counted_or_none(full: WebTries) -> None:
    address = {"192.0.2.1": Rate(2, MINUTE)}
    assert full.take(ANN | address, START) == {"ann": MINUTE}
    assert not full.take({"bob": THRICE} | address, START)
    assert not full.take({"bob": THRICE} | address, START)
    assert full.take({"bob": THRICE} | address, START) == {"192.0.2.1": MINUTE}
    assert not full.take({"bob": THRICE}, START), "what was refused counted nowhere"


def test_a_success_lets_the_key_begin_anew(full: WebTries) -> None:
    full.forget("ann")
    assert not full.take(ANN, START)
    full.forget("nobody")


def test_nothing_is_written_when_a_try_is_refused(full: WebTries, cluster: Cluster) -> None:
    before = rows(cluster)
    assert full.take(ANN | {"another": THRICE}, START + SECOND)
    assert rows(cluster) == before


def test_the_database_has_no_name_and_no_address(tries: WebTries, cluster: Cluster) -> None:
    tries.take(ANN | {"192.0.2.1": THRICE}, START)
    assert not any(word in repr(rows(cluster)) for word in ("ann", "192.0.2"))


@pytest.mark.parametrize("key", ["", "x" * 100_000, "a\0b", "\ud800", "\udc80 ä'\"%s"])
def test_a_key_of_any_text_is_counted(tries: WebTries, key: str) -> None:
    assert not tries.take({key: Rate(1, MINUTE)}, START)
    assert tries.take({key: Rate(1, MINUTE)}, START)


def test_what_is_tried_at_once_at_several_servers_gains_nothing(cluster: Cluster) -> None:
    let_through: list[int] = []
    begin = threading.Barrier(4)

    def try_often() -> None:
        begin.wait()
        let_through.append(sum(not cluster.web_tries.take(ANN, START) for _ in range(4)))

    servers = [threading.Thread(target=try_often) for _ in range(4)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert sum(let_through) == 3


# --- bounds


def test_rows_that_count_no_more_are_removed(tries: WebTries) -> None:
    tries.take({str(number): THRICE for number in range(20)}, START)
    assert tries.count() == 20
    tries.take({"late": THRICE}, START + MINUTE)
    assert tries.count() == 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(web_tries, "MOST_KEYS", 20)
    monkeypatch.setattr(web_tries, "_KEPT_WHEN_FULL", 15)
    return 20


def test_the_table_stays_in_bounds_however_many_keys_come(tries: WebTries, small: int) -> None:
    for number in range(small):
        tries.take({f"{number} {other}": THRICE for other in range(4)}, START)
        assert tries.count() <= small


@pytest.mark.usefixtures("small")
def test_nobody_begins_anew_by_filling_the_table(full: WebTries) -> None:
    for number in range(10):
        full.take({f"{number} {other}": THRICE for other in range(5)}, START + SECOND)
    assert full.take(ANN, START + SECOND) == {"ann": 59 * SECOND}


@pytest.mark.usefixtures("small")
def test_of_those_tried_alike_the_oldest_go_first(tries: WebTries) -> None:
    once = Rate(1, MINUTE)
    for number in range(0, 21, 3):
        tries.take({str(number + each): once for each in range(3)}, START + number * SECOND)
    assert tries.count() == 15
    assert tries.take({"20": once}, START + 20 * SECOND)
    assert not tries.take({"0": once}, START + 20 * SECOND)


# --- clocks


def test_a_clock_set_back_keeps_nobody_waiting(full: WebTries) -> None:
    hour_ago = START - 60 * MINUTE
    assert not full.take(ANN, hour_ago)
    assert not full.take(ANN, hour_ago)
    assert not full.take(ANN, hour_ago)
    assert full.take(ANN, hour_ago) == {"ann": MINUTE}
    assert not full.take(ANN, hour_ago + MINUTE)


def test_nobody_waits_longer_than_the_window_for_a_clock_a_little_ahead(full: WebTries) -> None:
    assert full.take(ANN, START - AHEAD) == {"ann": MINUTE}


def test_a_server_whose_clock_is_behind_takes_nothing_from_what_others_counted(full: WebTries) -> None:
    window = Rate(3, 5 * MINUTE)
    behind = START - AHEAD - SECOND
    for _ in range(3):
        assert not full.take({"ann": window}, behind), "it does not count those that are far ahead of it"
    assert full.take({"ann": window}, behind)
    assert full.take({"ann": window}, START)


def test_a_row_is_bounded_whatever_clocks_do(tries: WebTries, cluster: Cluster) -> None:
    for number in range(12):
        tries.take(ANN, START - number * 20 * SECOND)
    ((*_, taken),) = rows(cluster)
    assert len(taken.split()) <= 2 * 3 + 1
