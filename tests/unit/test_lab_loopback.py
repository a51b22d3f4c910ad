"""Addresses of a lab: no two labs of one process get the same, nor do two workers of these tests."""

import os
import random
from collections.abc import Iterable

import pytest

from certferry.lab import loopback
from certferry.lab.loopback import LoopbackError, free_network


def draw(monkeypatch: pytest.MonkeyPatch, numbers: Iterable[int]) -> None:
    """Let chance come out so."""
    drawn = iter(numbers)
    monkeypatch.setattr(random.SystemRandom, "randint", lambda *_: next(drawn))


def test_a_network_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_network()
    octet, other = first.network_address.packed[1:3]
    draw(monkeypatch, [number for place in range(64) for number in (octet, (other + place) % 256)])
    assert free_network() != first


def test_when_chance_finds_none_that_is_new_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    octet, other = free_network().network_address.packed[1:3]
    draw(monkeypatch, [octet, other] * 64)
    with pytest.raises(LoopbackError):
        free_network()


def test_each_worker_of_these_tests_has_networks_of_its_own() -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = loopback._LAST - loopback._FIRST + 1
    assert share == (250 - 16 + 1) // workers
    assert 16 <= loopback._FIRST <= loopback._LAST <= 250
