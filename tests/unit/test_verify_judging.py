"""What a verification makes of what was seen: one behaviour of each check that no injected fault shows."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import ROLLBACK, SECURITY_MODE, SIGNATURE_ALGORITHM
from certferry.cluster.values import Phone
from certferry.lab.pair import drop, import_all
from certferry.migrate.place import Endpoint
from certferry.migrate.seen import Seen, Tomcat
from certferry.migrate.side import Fetched, ServedFile, TftpNode
from certferry.migrate.survey import Answered, Survey
from certferry.migrate.verify import judge
from certferry.phone.decision import Kind
from certferry.trust.list_check import Check
from certferry.trust.purpose import Purpose, Store
from certferry.wire.phone_config import PhoneConfig, TvsMember
from certferry.wire.tvs import Status
from conftest import MakeCertificate, MakeCluster
from migration_views import NOW, of, seen, verdicts, view

DEVICE = "SEP001122334455"
Clusters = tuple[Cluster, Cluster]
Exchanged = Callable[..., Clusters]


@pytest.fixture
def exchanged(make_cluster: MakeCluster) -> Exchanged:
    """Make two clusters that know the phone and have exchanged everything."""

    def make(*, secure: bool = False, releases: tuple[str, str] = ("10.5.2", "11.5.1"), nodes: int = 2) -> Clusters:
        pair = [
            make_cluster(name, release, nodes, secure=secure)
            for name, release in zip(("source", "destination"), releases, strict=True)
        ]
        for cluster in pair:
            cluster.add_phones([Phone(DEVICE, secure=secure)])
        import_all(pair[0], pair[1])
        import_all(pair[1], pair[0])
        return pair[0], pair[1]

    return make


def not_passed(checks: tuple[Check, ...]) -> set[str]:
    return {check.id for check in checks if check.verdict in ("fail", "warn")}


@pytest.mark.parametrize("secure", [True, False])
def test_a_healthy_pair_passes_everything(exchanged: Exchanged, secure: bool) -> None:
    checks = judge(seen(*exchanged(secure=secure), DEVICE, inside=True))
    assert not_passed(checks) == set()


def test_every_check_that_does_not_pass_says_what_to_do(make_cluster: MakeCluster) -> None:
    source, destination = make_cluster("source", nodes=1), make_cluster("destination", nodes=1)
    checks = judge(seen(source, destination, DEVICE, inside=True))
    assert not_passed(checks)
    assert all(check.remedy for check in checks if check.verdict != "pass")
    assert all(check.evidence for check in checks)
    assert not any(check.remedy for check in checks if check.verdict == "pass")


def test_a_signer_that_has_expired_is_to_be_regenerated_because_an_import_refuses_it(make_cluster: MakeCluster) -> None:
    looked_at = seen(make_cluster("source", nodes=1), make_cluster("destination", nodes=1), DEVICE, inside=True)
    for days, word in ((0, "Export All"), (6 * 365, "cert regenerate")):
        checks = judge(replace(looked_at, now=NOW + timedelta(days=days)))
        remedies = [check.remedy for check in checks if (check.id, check.verdict) == ("tvs.vouches", "fail")]
        assert remedies
        assert all(word in remedy for remedy in remedies)


def test_nothing_seen_is_nothing_passed(exchanged: Exchanged) -> None:
    source, destination = exchanged()
    here, there = view(source), view(destination)
    dumb = Fetched("silent", note="no answer")
    nobody = [TftpNode(Endpoint("192.0.2.9"), {"ITLFile.tlv": ServedFile("ITLFile.tlv", dumb, dumb)})]
    blind = Seen(replace(here, nodes=tuple(nobody)), replace(there, nodes=tuple(nobody)), Survey(), NOW)
    passed = {check.id for check in judge(blind) if check.verdict == "pass"}
    assert passed == set()


# Reaching files


def test_option_150_that_names_the_source_fails(exchanged: Exchanged) -> None:
    both = seen(*exchanged(), DEVICE)
    hosts = tuple(node.endpoint.host for node in both.destination.nodes)
    assert verdicts(judge(replace(both, option150=hosts)), "option150") == {"pass"}
    assert verdicts(judge(replace(both, option150=("192.0.2.200",))), "option150") == {"fail"}
    assert verdicts(judge(replace(both, option150=())), "option150") == {"fail"}
    assert verdicts(judge(both), "option150") == {"unknown"}


def test_a_file_that_only_http_serves_is_told(exchanged: Exchanged) -> None:
    both = seen(*exchanged())
    node = both.destination.nodes[0]
    itl = node.files["ITLFile.tlv"]
    odd = replace(node, files={**node.files, "ITLFile.tlv": replace(itl, tftp=Fetched("missing"))})
    changed = replace(both, destination=replace(both.destination, nodes=(odd, *both.destination.nodes[1:])))
    assert sorted(check.verdict for check in of(judge(changed), "file.same")) == ["fail", "pass", "pass", "pass"]


def test_a_phone_that_only_one_tftp_node_has_a_configuration_for_fails(exchanged: Exchanged) -> None:
    source, destination = exchanged()
    name = f"{DEVICE}.cnf.xml.sgn"
    both = seen(source, destination, DEVICE)
    changed = replace(both, destination=view(destination, DEVICE, changes={name: None}))
    (check,) = of(judge(changed), "configuration.present")
    assert check.verdict == "fail"
    assert "not on" in check.evidence


# TVS


def with_tvs(source: Cluster, *members: TvsMember) -> dict[str, bytes | None]:
    plain = PhoneConfig(DEVICE, (), members).encode()
    return {f"{DEVICE}.cnf.xml.sgn": None, f"{DEVICE}.cnf.xml": plain}


def test_an_empty_tvs_list_fails(exchanged: Exchanged) -> None:
    source, destination = exchanged(nodes=1)
    changed = replace(seen(source, destination, DEVICE), source=view(source, DEVICE, changes=with_tvs(source)))
    assert verdicts(judge(changed), "tvs.list") == {"fail"}


def test_a_tvs_that_the_itl_does_not_name_is_warned_about(exchanged: Exchanged) -> None:
    source, destination = exchanged(nodes=1)
    stranger = view(source, DEVICE, changes=with_tvs(source, TvsMember(0, "198.51.100.7")))
    (check,) = of(judge(replace(seen(source, destination, DEVICE), source=stranger)), "tvs.list")
    assert check.verdict == "warn"
    assert "198.51.100.7" in check.evidence


def test_one_silent_tvs_of_two_warns_and_both_fail(exchanged: Exchanged) -> None:
    both = seen(*exchanged(), DEVICE)
    dead = [replace(node, failure="fleet.tvs-unreachable", note="no", answers={}) for node in both.survey.nodes]
    one = replace(both, survey=Survey(both.survey.signers, (dead[0], both.survey.nodes[1])))
    assert {"warn", "pass"} == verdicts(judge(one), "tvs.reachable")
    assert "unknown" in verdicts(judge(one), "tvs.vouches")
    none = replace(both, survey=Survey(both.survey.signers, tuple(dead)))
    assert verdicts(judge(none), "tvs.reachable") == {"fail"}
    assert verdicts(judge(none), "tvs.vouches") == {"unknown"}


def test_a_signer_that_stands_by_and_is_not_vouched_for_warns_only(exchanged: Exchanged) -> None:
    source, destination = exchanged()
    recovery = [destination.identity(Purpose.ITL_RECOVERY).certificate]
    for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
        drop(source, store, recovery)
    checks = judge(seen(source, destination, DEVICE, inside=True))
    assert {"warn", "pass"} == verdicts(checks, "tvs.vouches")
    assert verdicts(checks, "recovery.vouched") == {"warn"}
    assert verdicts(checks, "store.signers") == {"warn"}


def test_from_12_0_the_same_fails(exchanged: Exchanged) -> None:
    source, destination = exchanged(releases=("11.5.1", "12.0"))
    recovery = [destination.identity(Purpose.ITL_RECOVERY).certificate]
    for store in (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST):
        drop(source, store, recovery)
    checks = judge(seen(source, destination, DEVICE))
    assert verdicts(checks, "recovery.vouched") == {"fail"}
    assert "fail" in verdicts(checks, "tvs.vouches")


def test_another_certificate_than_the_one_in_the_list_fails(
    exchanged: Exchanged, make_certificate: MakeCertificate
) -> None:
    both = seen(*exchanged(), DEVICE)
    other = make_certificate("CN=other")
    first, *rest = both.survey.nodes
    answers = {signer: Answered(Status.VALID, frozenset({0, 3}), other.der) for signer in first.answers}
    changed = replace(both, survey=Survey(both.survey.signers, (replace(first, answers=answers), *rest)))
    assert verdicts(judge(changed), "tvs.returned") == {"fail", "pass"}
    assert verdicts(judge(changed), "tvs.agree") == {"fail"}


def test_the_itl_that_phones_hold_is_what_tvs_is_compared_with(exchanged: Exchanged) -> None:
    source, destination = exchanged()
    held = source.trust_list("ITL", "source-pub") or b""
    source.regenerate(Purpose.TVS, "source-pub")
    both = seen(source, destination, DEVICE, inside=True)
    assert verdicts(judge(both), "tvs.certificate") == {"pass"}
    assert verdicts(judge(both), "tvs.held") == {"warn"}
    holding = replace(both, source=replace(both.source, held={Kind.ITL: held}))
    assert verdicts(judge(holding), "tvs.certificate") == {"pass", "fail"}


# Lists


@pytest.mark.parametrize(("old", "verdict"), [(True, "fail"), (None, "warn"), (False, "pass")])
def test_sha_512_depends_on_whether_there_are_old_phones(exchanged: Exchanged, old: bool | None, verdict: str) -> None:
    source, destination = exchanged()
    destination.set_parameter(SIGNATURE_ALGORITHM, "sha-512")
    checks = judge(replace(seen(source, destination, DEVICE), old_phones=old))
    assert verdicts(checks, "digest.old-phones") == {verdict}
    assert verdicts(checks, "key.old-phones") == {"pass"}


def test_a_certificate_that_runs_out_within_the_window_warns(exchanged: Exchanged) -> None:
    both = seen(*exchanged(), DEVICE, inside=True)
    assert verdicts(judge(both), "expiry.window") == {"pass"}
    soon = replace(both, window=timedelta(days=5 * 365))
    assert verdicts(judge(soon), "expiry.window") == {"warn"}
    assert verdicts(judge(soon), "expiry.stores") == {"warn"}


def test_clusters_whose_hosts_have_equal_names_are_warned_about(make_cluster: MakeCluster) -> None:
    source = make_cluster("same", nodes=1)
    before = view(source)
    source.regenerate(Purpose.CALLMANAGER)
    namesakes = Seen(view(source), before, Survey(), NOW)
    (check,) = of(judge(namesakes), "subject.collision")
    assert check.verdict == "warn"
    assert "CN=same-pub" in check.evidence


def test_a_ctl_of_a_cluster_that_left_mixed_mode_is_named(exchanged: Exchanged) -> None:
    source, destination = exchanged(secure=True)
    ctl = destination.trust_list("CTL")
    destination.set_parameter(SECURITY_MODE, "non-secure")
    stale = view(destination, DEVICE, changes={f"CTL{DEVICE}.tlv": ctl, "CTLFile.tlv": ctl})
    checks = judge(replace(seen(source, destination, DEVICE), destination=stale))
    assert verdicts(checks, "ctl.mode") == {"pass", "fail"}
    assert "fail" in verdicts(checks, "ctl.same")


def test_the_emptied_ctl_of_a_cluster_that_left_mixed_mode_is_what_phones_need(exchanged: Exchanged) -> None:
    source, destination = exchanged(secure=True)
    for cluster in (source, destination):
        cluster.set_parameter(SECURITY_MODE, "non-secure")
    checks = judge(seen(source, destination, DEVICE))
    for identifier in ("ctl.mode", "ctl.current", "ctl.same", "ctl.leftover", "list.left-mixed-mode"):
        assert verdicts(checks, identifier) == {"pass"}


def test_emptied_records_tell_the_rollback_parameter_from_outside(exchanged: Exchanged) -> None:
    source, destination = exchanged()
    assert verdicts(judge(seen(source, destination)), "rollback.parameter") == {"unknown"}
    source.set_parameter(ROLLBACK, "true")
    (first, second) = of(judge(seen(source, destination)), "rollback.parameter")
    assert (first.verdict, second.verdict) == ("fail", "unknown")


def test_a_configuration_that_is_no_signed_file_fails(exchanged: Exchanged) -> None:
    source, destination = exchanged(nodes=1)
    name = f"{DEVICE}.cnf.xml.sgn"
    broken = view(destination, DEVICE, changes={name: b"\x01\x00"})
    checks = judge(replace(seen(source, destination, DEVICE), destination=broken))
    assert verdicts(checks, "configuration.signature") == {"fail"}


# Stores


@pytest.mark.parametrize(("secure", "verdict"), [(True, "fail"), (False, "warn")])
def test_a_missing_capf_fails_secure_phones_and_only_warns_the_others(
    exchanged: Exchanged, secure: bool, verdict: str
) -> None:
    source, destination = exchanged(secure=secure)
    drop(destination, Store.CALLMANAGER_TRUST, [source.identity(Purpose.CAPF).certificate])
    assert verdicts(judge(seen(source, destination, DEVICE, inside=True)), "store.capf") == {verdict}


def test_a_node_that_reported_an_older_change_lags(exchanged: Exchanged) -> None:
    source, destination = exchanged()
    source.report_served({"source-pub": source.version(), "source-sub1": source.version() - 1})
    checks = of(judge(seen(source, destination, inside=True)), "replication.served")
    assert [check.verdict for check in checks] == ["fail", "unknown"]
    assert "source-sub1" in checks[0].evidence


def test_emcc_without_trust_warns_and_without_an_answer_is_unknown(
    exchanged: Exchanged, make_certificate: MakeCertificate
) -> None:
    both = seen(*exchanged())
    certificate = make_certificate("CN=tomcat")
    told = tuple(Tomcat("source", "192.0.2.1", certificate, vouched) for vouched in (True, False, None))
    found = of(judge(replace(both, tomcat=told)), "emcc.tomcat")
    assert [check.verdict for check in found] == ["pass", "warn", "unknown"]
