"""What ITL and CTL are made of and who signs them, release by release (phone-trust 1.10)."""

import pytest

from certferry.trust.list_rules import (
    ListIncompleteError,
    NodeCertificates,
    RecordSpec,
    ctl_records,
    ctl_signer,
    itl_records,
    itl_signer,
)
from certferry.trust.purpose import Purpose
from certferry.trust.release import Release
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from conftest import MakeCertificate

OLD, FIRST_WITH_RECOVERY, LAST_BEFORE_12, NEW = map(Release.parse, ("10.5(1)", "10.5(2)", "11.5(1)", "12.0(1)"))
ALL = [OLD, FIRST_WITH_RECOVERY, LAST_BEFORE_12, NEW, Release(12, 5), Release(14), Release(15)]
every_release = pytest.mark.parametrize("release", ALL, ids=str)

Nodes = tuple[NodeCertificates, ...]


@pytest.fixture(scope="module")
def nodes(make_certificate: MakeCertificate) -> Nodes:
    """A publisher with CAPF, a TFTP node, a call processing node, all with TVS; one ITLRecovery for all."""
    recovery = make_certificate("CN=ITLRECOVERY_pub")

    def node(name: str, address: str, *roles: str) -> NodeCertificates:
        own = {
            Purpose.CALLMANAGER: make_certificate(f"CN={name}"),
            Purpose.TVS: make_certificate(f"CN=TVS_{name}"),
            Purpose.ITL_RECOVERY: recovery,
        }
        if "capf" in roles:
            own[Purpose.CAPF] = make_certificate("CN=CAPF-12345678")
        return NodeCertificates(name, address, frozenset(roles), own)

    return (
        node("tftp", "10.0.0.2", "tftp", "tvs"),
        node("pub", "10.0.0.1", "publisher", "tvs", "capf"),
        node("sub", "10.0.0.3", "callmanager", "tvs"),
    )


def itl(
    nodes: Nodes, release: Release = NEW, *, of: str = "tftp", secure: bool = False, rollback: bool = False
) -> tuple[RecordSpec, ...]:
    return itl_records(release, secure, rollback, of, nodes)


def told(records: tuple[RecordSpec, ...]) -> list[tuple[Role, str]]:
    """Records as a reader of ``show itl`` names them."""
    return [(record.role, record.certificate.common_name if record.certificate else "(empty)") for record in records]


def without(nodes: Nodes, name: str, purpose: Purpose) -> Nodes:
    def stripped(node: NodeCertificates) -> NodeCertificates:
        rest = {key: value for key, value in node.certificates.items() if key is not purpose}
        return NodeCertificates(node.name, node.address, node.roles, rest)

    return tuple(stripped(node) if node.name == name else node for node in nodes)


def with_own_recovery(nodes: Nodes, name: str, recovery: Certificate) -> Nodes:
    return tuple(
        NodeCertificates(node.name, node.address, node.roles, {**node.certificates, Purpose.ITL_RECOVERY: recovery})
        if node.name == name
        else node
        for node in nodes
    )


class TestItl:
    def test_from_12_it_opens_with_the_itl_recovery_certificate(self, nodes: Nodes) -> None:
        assert told(itl(nodes)) == [
            (Role.SAST, "ITLRECOVERY_pub"),
            (Role.SAST, "tftp"),
            (Role.TFTP, "tftp"),
            (Role.TVS, "TVS_pub"),
            (Role.TVS, "TVS_tftp"),
            (Role.TVS, "TVS_sub"),
            (Role.CAPF, "CAPF-12345678"),
        ]

    def test_before_12_it_opens_with_the_callmanager_certificate_of_its_tftp_node(self, nodes: Nodes) -> None:
        records = told(itl(nodes, LAST_BEFORE_12))
        assert records[:3] == [(Role.SAST, "tftp"), (Role.SAST, "ITLRECOVERY_pub"), (Role.TFTP, "tftp")]

    @every_release
    def test_in_mixed_mode_the_tftp_record_also_stands_for_call_control(self, nodes: Nodes, release: Release) -> None:
        roles = {secure: [r.role for r in itl(nodes, release, secure=secure)] for secure in (False, True)}
        assert roles[False][2] is Role.TFTP
        assert roles[True][2] is Role.CALLMANAGER_TFTP
        assert roles[False][:2] + roles[False][3:] == roles[True][:2] + roles[True][3:]

    def test_each_tftp_node_s_list_names_that_node_s_certificate_alone(self, nodes: Nodes) -> None:
        names = {name for _, name in told(itl(nodes, of="sub"))}
        assert "sub" in names
        assert not names & {"tftp", "pub"}

    def test_records_carry_the_name_and_address_of_the_node_they_speak_of(self, nodes: Nodes) -> None:
        records = itl(nodes)
        assert [(record.dns_name, record.ip_address) for record in records] == [
            ("pub", "10.0.0.1"),
            ("tftp", "10.0.0.2"),
            ("tftp", "10.0.0.2"),
            ("pub", "10.0.0.1"),
            ("tftp", "10.0.0.2"),
            ("sub", "10.0.0.3"),
            ("pub", "10.0.0.1"),
        ]

    def test_nodes_with_an_itl_recovery_of_their_own_use_it(
        self, nodes: Nodes, make_certificate: MakeCertificate
    ) -> None:
        own = with_own_recovery(nodes, "tftp", make_certificate("CN=ITLRECOVERY_tftp"))
        first = itl(own)[0]
        assert first.certificate is not None
        assert (first.certificate.common_name, first.dns_name) == ("ITLRECOVERY_tftp", "tftp")

    def test_without_capf_there_is_no_capf_record(self, nodes: Nodes) -> None:
        idle = tuple(NodeCertificates(n.name, n.address, n.roles - {"capf"}, n.certificates) for n in nodes)
        assert Role.CAPF not in {record.role for record in itl(idle)}

    def test_a_node_without_tvs_has_no_tvs_record(self, nodes: Nodes) -> None:
        some = tuple(
            NodeCertificates(n.name, n.address, n.roles - {"tvs"} if n.name == "sub" else n.roles, n.certificates)
            for n in nodes
        )
        names = [name for role, name in told(itl(some)) if role is Role.TVS]
        assert names == ["TVS_pub", "TVS_tftp"]


class TestRollback:
    @every_release
    @pytest.mark.parametrize("secure", [False, True])
    def test_what_phones_check_servers_and_files_with_is_emptied(
        self, nodes: Nodes, release: Release, *, secure: bool
    ) -> None:
        usual = itl(nodes, release, secure=secure)
        rolled_back = itl(nodes, release, secure=secure, rollback=True)
        assert [record.role for record in rolled_back] == [record.role for record in usual]
        empty = {record.role for record in rolled_back if record.certificate is None}
        assert empty == {Role.TVS, Role.CALLMANAGER_TFTP if secure else Role.TFTP}

    def test_the_signer_stays_so_that_the_list_verifies(self, nodes: Nodes) -> None:
        usual, rolled_back = (itl(nodes, rollback=rollback) for rollback in (False, True))
        assert rolled_back[:2] == usual[:2]
        assert rolled_back[-1] == usual[-1]

    def test_an_emptied_record_keeps_name_and_address(self, nodes: Nodes) -> None:
        emptied = itl(nodes, rollback=True)[2]
        assert emptied == RecordSpec(Role.TFTP, None, "tftp", "10.0.0.2")


class TestCtl:
    @pytest.mark.parametrize(
        ("release", "sasts"),
        [
            (Release(10), ["pub"]),
            (OLD, ["pub"]),
            (FIRST_WITH_RECOVERY, ["pub", "ITLRECOVERY_pub"]),
            (LAST_BEFORE_12, ["pub", "ITLRECOVERY_pub"]),
            (NEW, ["ITLRECOVERY_pub", "pub"]),
            (Release(15), ["ITLRECOVERY_pub", "pub"]),
        ],
        ids=str,
    )
    def test_who_may_sign_it_the_signer_first(self, nodes: Nodes, release: Release, sasts: list[str]) -> None:
        assert [name for role, name in told(ctl_records(release, nodes)) if role is Role.SAST] == sasts

    def test_it_names_every_tftp_and_call_processing_node(self, nodes: Nodes) -> None:
        assert told(ctl_records(NEW, nodes))[2:] == [
            (Role.CAPF, "CAPF-12345678"),
            (Role.CALLMANAGER_TFTP, "tftp"),
            (Role.CALLMANAGER_TFTP, "sub"),
        ]

    def test_a_node_s_capf_follows_its_own_record_as_in_published_lists(self, nodes: Nodes) -> None:
        busy = tuple(NodeCertificates(n.name, n.address, n.roles | {"tftp"}, n.certificates) for n in nodes)
        assert told(ctl_records(LAST_BEFORE_12, busy))[2:5] == [
            (Role.CALLMANAGER_TFTP, "pub"),
            (Role.CAPF, "CAPF-12345678"),
            (Role.CALLMANAGER_TFTP, "tftp"),
        ]

    @every_release
    def test_a_cluster_that_left_mixed_mode_has_its_servers_emptied_and_keeps_sast_and_capf(
        self, nodes: Nodes, release: Release
    ) -> None:
        usual, left = ctl_records(release, nodes), ctl_records(release, nodes, left_mixed_mode=True)
        assert [(each.role, each.dns_name, each.ip_address) for each in left] == [
            (each.role, each.dns_name, each.ip_address) for each in usual
        ]
        for before, after in zip(usual, left, strict=True):
            assert after.certificate == (None if after.role is Role.CALLMANAGER_TFTP else before.certificate)

    @every_release
    def test_it_has_no_tvs(self, nodes: Nodes, release: Release) -> None:
        assert Role.TVS not in {record.role for record in ctl_records(release, nodes)}

    def test_the_order_of_nodes_does_not_move_the_publisher_from_the_front(self, nodes: Nodes) -> None:
        busy = tuple(NodeCertificates(n.name, n.address, n.roles | {"tftp"}, n.certificates) for n in nodes)
        names = [name for role, name in told(ctl_records(NEW, busy)) if role is Role.CALLMANAGER_TFTP]
        assert names == ["pub", "tftp", "sub"]


class TestSigners:
    @every_release
    def test_the_first_record_holds_the_signer_s_certificate(self, nodes: Nodes, release: Release) -> None:
        by_name = {node.name: node.certificates for node in nodes}
        signer = itl_signer(release, "tftp")
        assert itl(nodes, release)[0].certificate == by_name[signer.node][signer.purpose]
        signer = ctl_signer(release, "pub")
        assert ctl_records(release, nodes)[0].certificate == by_name[signer.node][signer.purpose]

    @every_release
    def test_from_12_itl_recovery_signs_and_before_it_callmanager(self, release: Release) -> None:
        purpose = Purpose.ITL_RECOVERY if release.major >= 12 else Purpose.CALLMANAGER
        assert itl_signer(release, "tftp").purpose is ctl_signer(release, "pub").purpose is purpose

    def test_the_itl_is_signed_by_its_own_node_and_the_ctl_by_the_publisher(self) -> None:
        assert (itl_signer(OLD, "tftp").node, ctl_signer(OLD, "pub").node) == ("tftp", "pub")


class TestIncompleteClusters:
    @pytest.mark.parametrize(
        ("name", "purpose"),
        [
            ("tftp", Purpose.CALLMANAGER),
            ("tftp", Purpose.ITL_RECOVERY),
            ("sub", Purpose.TVS),
            ("pub", Purpose.CAPF),
        ],
    )
    def test_a_missing_certificate_is_named(self, nodes: Nodes, name: str, purpose: Purpose) -> None:
        with pytest.raises(ListIncompleteError, match=f"node {name} has no {purpose} certificate"):
            itl(without(nodes, name, purpose))

    def test_an_itl_recovery_that_does_not_sign_may_be_missing(self, nodes: Nodes) -> None:
        bare = without(without(nodes, "tftp", Purpose.ITL_RECOVERY), "pub", Purpose.ITL_RECOVERY)
        assert told(itl(bare, LAST_BEFORE_12))[:2] == [
            (Role.SAST, "tftp"),
            (Role.TFTP, "tftp"),
        ]
        assert [name for role, name in told(ctl_records(LAST_BEFORE_12, bare)) if role is Role.SAST] == ["pub"]

    def test_an_unknown_tftp_node_is_named(self, nodes: Nodes) -> None:
        with pytest.raises(ListIncompleteError, match="no node called ghost"):
            itl(nodes, of="ghost")

    def test_a_cluster_has_a_publisher(self, nodes: Nodes) -> None:
        with pytest.raises(ListIncompleteError, match="publisher"):
            ctl_records(NEW, [node for node in nodes if node.name != "pub"])
