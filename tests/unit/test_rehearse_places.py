"""Where clusters are looked at, which phones are rehearsed, and the form of a result."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from certferry.cluster.location import ClusterMissingError
from certferry.cluster.values import Phone
from certferry.migrate.place import Endpoint, EndpointInvalidError, Place
from certferry.migrate.rehearse import choose_phones
from certferry.migrate.result import DONE, FAILED, PARTLY, PhoneResult, ResultMalformedError, Verification
from certferry.trust.list_check import Check
from conftest import MakeCluster

AT = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1", Endpoint("192.0.2.1", 69, 6970)),
        ("192.0.2.1:6969", Endpoint("192.0.2.1", 6969, 6970)),
        ("192.0.2.1:6970", Endpoint("192.0.2.1", 69, 6970)),
        ("tftp://pub.example:70", Endpoint("pub.example", 70, 6970)),
        ("http://pub.example:8080/", Endpoint("pub.example", None, 8080)),
        ("http://pub.example", Endpoint("pub.example", None, 6970)),
        ("[2001:db8::1]:69", Endpoint("2001:db8::1", 69, 6970)),
    ],
)
def test_an_endpoint_is_read(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize("text", ["", ":69", "host:", "host:0", "host:70000", "host:x", "ftp://host", "[::1", "a b"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(EndpointInvalidError):
        Endpoint.parse(text)


def test_several_addresses_stand_apart_or_with_commas() -> None:
    place = Place.parse(["192.0.2.1,192.0.2.2", "192.0.2.3"])
    assert [endpoint.host for endpoint in place.endpoints] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert place.inside is None


def test_a_folder_is_looked_at_from_inside(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("source", nodes=2)
    place = Place.parse([str(cluster.location.folder)])
    assert [endpoint.host for endpoint in place.endpoints] == [node.address for node in cluster.nodes()]
    assert place.inside
    assert place.inside.name == "source"


def test_a_folder_without_a_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterMissingError):
        Place.parse([str(tmp_path)])


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(EndpointInvalidError):
        Place.parse([" "])


def test_phones_named_are_all_rehearsed_once() -> None:
    chosen = choose_phones(Place.parse(["h"]), ["SEP000000000001", "SEP000000000001", "SEP000000000002"], 1)
    assert [phone.device for phone in chosen] == ["SEP000000000001", "SEP000000000002"]
    assert not any(phone.made_up for phone in chosen)


def test_phones_of_a_database_are_rehearsed_when_none_is_named(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("source", nodes=1)
    cluster.add_phones([Phone(f"SEP00000000000{n}", model="7962") for n in range(4)])
    chosen = choose_phones(Place.of_cluster(cluster), [], 2)
    assert [(phone.device, phone.model) for phone in chosen] == [
        ("SEP000000000000", "7962"),
        ("SEP000000000001", "7962"),
    ]


def test_else_phones_are_made_up() -> None:
    chosen = choose_phones(Place.parse(["h"]), [], 3)
    assert len({phone.device for phone in chosen}) == 3
    assert all(phone.made_up for phone in chosen)


def result(*verdicts: str, phones: tuple[str, ...] = ()) -> Verification:
    checks = tuple(Check("x", "t", verdict, "e", "r") for verdict in verdicts)  # type: ignore[arg-type]
    told = tuple(PhoneResult("SEP000000000001", outcome, "tvs", "c", "r") for outcome in phones)  # type: ignore[arg-type]
    return Verification.of(checks, told, source="a", destination="b", at=AT)


@pytest.mark.parametrize(
    ("verification", "ok", "code"),
    [
        (result("pass", "warn", "unknown", phones=("would-migrate",)), True, DONE),
        (result("pass", phones=("would-migrate", "unknown")), True, PARTLY),
        (result("fail", phones=("would-migrate",)), False, FAILED),
        (result("pass", phones=("unknown", "would-fail")), False, FAILED),
    ],
)
def test_a_result_is_as_good_as_its_parts(verification: Verification, ok: bool, code: int) -> None:
    assert (verification.ok, verification.exit_code) == (ok, code)


def test_a_result_comes_back_from_its_json() -> None:
    made = result("pass", "fail", phones=("would-fail",))
    told = made.to_json()
    assert set(told) >= {"ok", "checks", "phones"}
    assert set(told["checks"][0]) == {"id", "title", "verdict", "evidence", "remedy"}
    assert set(told["phones"][0]) >= {"device", "outcome", "step", "reason"}
    assert Verification.of_json(told) == made


@pytest.mark.parametrize("value", [{}, {"ok": True, "checks": 1, "phones": []}, {"ok": True, "checks": [{}]}])
def test_json_of_something_else_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ResultMalformedError):
        Verification.of_json(value)


@pytest.mark.parametrize("text", ["http://127.0.0.1:6970", "tftp://127.0.0.1", "127.0.0.1"])
def test_a_file_server_is_not_taken_for_a_cluster(text: str) -> None:
    place = Place.parse([text])
    assert place.inside is None
    assert [endpoint.host for endpoint in place.endpoints] == ["127.0.0.1"]
