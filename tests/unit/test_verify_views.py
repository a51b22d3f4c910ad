"""What is seen of a cluster, and what is then known of its phones: nothing is assumed."""

from dataclasses import replace

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import ROLLBACK
from certferry.cluster.values import Phone
from certferry.migrate.narrate import holding
from certferry.migrate.place import Endpoint
from certferry.migrate.side import (
    NOT_ASKED,
    Fetched,
    ServedFile,
    SideView,
    TftpNode,
    hosts_named,
    plain_configuration,
)
from certferry.migrate.survey import signers_of
from certferry.phone.decision import Kind
from certferry.phone.flash import Flash
from conftest import MakeCluster
from migration_views import configuration, view

DEVICE = "SEP001122334455"
SERVED, MISSING, SILENT = Fetched("served", b"x"), Fetched("missing"), Fetched("silent")


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster("source", nodes=2, secure=True)
    made.add_phones([Phone(DEVICE, secure=True)])
    return made


@pytest.mark.parametrize(
    ("tftp", "http", "answered", "missing", "data"),
    [
        (SERVED, SERVED, True, False, b"x"),
        (SERVED, SILENT, True, False, b"x"),
        (SILENT, SERVED, True, False, b"x"),
        (MISSING, SERVED, True, False, b"x"),
        (MISSING, SILENT, True, True, None),
        (SILENT, SILENT, False, False, None),
        (NOT_ASKED, NOT_ASKED, False, False, None),
        (Fetched("refused"), SILENT, True, False, None),
    ],
)
def test_a_file_is_what_both_protocols_say(
    tftp: Fetched, http: Fetched, answered: bool, missing: bool, data: bytes | None
) -> None:
    file = ServedFile("f", tftp, http)
    assert (file.answered, file.is_missing, file.data) == (answered, missing, data)


def test_a_phone_holds_what_its_cluster_serves_it(cluster: Cluster) -> None:
    flash = view(cluster, DEVICE).flash(DEVICE)
    assert flash.ctl == cluster.trust_list("CTL")
    assert flash.itl == cluster.trust_list("ITL", "source-pub")
    assert flash.config_signed
    assert flash.config == plain_configuration(configuration(cluster, "source-pub", DEVICE))[0]


def test_lists_known_to_be_held_go_before_those_served(cluster: Cluster) -> None:
    held = replace(view(cluster, DEVICE), held={Kind.ITL: b"another"})
    assert held.trust_list(Kind.ITL, DEVICE) == b"another"
    assert held.trust_list(Kind.CTL, DEVICE) == cluster.trust_list("CTL")
    assert held.held_list(Kind.ITL) is None, "it cannot be read"


def test_a_phone_that_was_not_asked_about_is_neither_known_nor_unknown(cluster: Cluster) -> None:
    stranger = "SEPAAAAAAAAAAAA"
    assert view(cluster, DEVICE).knows(DEVICE) is True
    assert view(cluster, stranger).knows(stranger) is False
    assert view(cluster).knows(DEVICE) is None


def test_the_tvs_list_is_that_of_the_configuration_in_its_order(cluster: Cluster) -> None:
    seen = view(cluster, DEVICE)
    assert seen.tvs_list(DEVICE) == (("127.0.2.2", 2445), ("127.0.2.1", 2445))
    assert seen.tvs_nodes[:2] == (("127.0.2.2", 2445), ("127.0.2.1", 2445))
    assert view(cluster).tvs_list(DEVICE) is None


def test_without_a_configuration_the_itl_names_the_tvs_nodes(cluster: Cluster) -> None:
    assert set(view(cluster).tvs_nodes) == {("127.0.2.1", 2445), ("127.0.2.2", 2445)}
    elsewhere = view(cluster)
    elsewhere = replace(elsewhere, place=replace(elsewhere.place, tvs_port=12445))
    assert {port for _, port in elsewhere.tvs_nodes} == {12445}


def test_a_cluster_is_secure_by_a_ctl_that_still_names_somebody(cluster: Cluster, make_cluster: MakeCluster) -> None:
    assert view(cluster, DEVICE).is_secure is True
    assert view(make_cluster("plain", nodes=1)).is_secure is False
    silent = TftpNode(Endpoint("h"), {"ITLFile.tlv": ServedFile("ITLFile.tlv", SILENT, SILENT)})
    assert SideView(view(cluster).place, (silent,)).is_secure is None


def test_every_node_that_the_lists_name_may_run_tftp(cluster: Cluster) -> None:
    lists = [known for _, known in view(cluster).lists(Kind.ITL)]
    assert set(hosts_named(lists)) == {"127.0.2.1", "127.0.2.2"}


# Signers


def test_the_signer_of_a_list_is_needed_and_a_spare_one_stands_by(make_cluster: MakeCluster) -> None:
    asked = signers_of(view(make_cluster("destination", "11.5.1", 2)))
    needed = {one.name: one.needed for one in asked}
    itl = frozenset({Kind.ITL})
    assert needed == {
        "destination-pub": itl,
        "destination-sub1": itl,
        "ITLRECOVERY_destination-pub": frozenset(),
    }


def test_behind_a_ctl_only_the_signer_of_the_ctl_is_needed(make_cluster: MakeCluster) -> None:
    asked = signers_of(view(make_cluster("destination", "11.5.1", 2, secure=True)))
    assert {one.name for one in asked if one.needed} == {"destination-pub"}
    assert next(one.needed for one in asked if one.needed) == {Kind.CTL}


def test_from_12_0_it_is_itlrecovery_that_is_needed(make_cluster: MakeCluster) -> None:
    asked = signers_of(view(make_cluster("destination", "14", 2)))
    assert [(one.name, one.is_recovery) for one in asked if one.needed] == [("ITLRECOVERY_destination-pub", True)]


def test_every_signer_comes_with_its_certificate_and_where_it_was_seen(cluster: Cluster) -> None:
    for one in signers_of(view(cluster, DEVICE)):
        assert one.der
        assert one.uses
        assert len(set(one.uses)) == len(one.uses)


# Narration


def test_what_a_phone_holds_is_told_record_by_record(cluster: Cluster) -> None:
    told = [entry.text for entry in holding(view(cluster, DEVICE).flash(DEVICE), "before: it holds")]
    itl = cluster.trust_list("ITL", "source-pub") or b""
    assert f"before: it holds ITL: {len(itl)} bytes, SHA1, signed by CN=source-pub" in "\n".join(told)
    assert sum("ITL record: TVS" in text for text in told) == 2
    assert told[-1].endswith("verified; it asks TVS at 127.0.2.2:2445, 127.0.2.1:2445")


def test_an_emptied_record_is_told_as_emptied(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("source", nodes=1)
    cluster.set_parameter(ROLLBACK, "true")
    told = [entry.text for entry in holding(Flash(itl=cluster.trust_list("ITL", "source-pub")), "it holds")]
    assert "it holds ITL record: TVS source-pub, emptied" in told


@pytest.mark.parametrize(
    ("flash", "words"),
    [
        (Flash(), ["no CTL", "no ITL", "no configuration"]),
        (Flash(itl=b"?"), ["no CTL", "a ITL of 1 bytes that cannot be read", "no configuration"]),
        (
            Flash(config=b"<device/>"),
            ["no CTL", "no ITL", "a configuration of 9 bytes, unsigned; it asks TVS at nobody"],
        ),
    ],
)
def test_what_is_not_there_is_told_too(flash: Flash, words: list[str]) -> None:
    assert [entry.text for entry in holding(flash, "now")] == [f"now {word}" for word in words]
