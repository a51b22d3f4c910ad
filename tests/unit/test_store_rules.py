"""One certificate comes to a trust store: added, put in another's place, skipped or refused, and why."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.trust.store_rules import OWN, Action, Code, Decision, HeldCertificate, decide, refusal
from certferry.wire.certificate import Certificate
from conftest import MakeCertificate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EARLY, LATE = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)

Pub = Callable[[datetime], Certificate]


@pytest.fixture(scope="module")
def pub(make_certificate: MakeCertificate) -> Pub:
    return lambda start: make_certificate("CN=pub;O=Example", not_before=start)


def held(*entries: tuple[Certificate, str]) -> list[HeldCertificate]:
    return [HeldCertificate(certificate, origin) for certificate, origin in entries]


def outcome(decision: Decision) -> tuple[Action, Code]:
    return decision.action, decision.code


class TestAmongCertificatesOfOneCluster:
    def test_the_first_of_its_name_is_added(self, pub: Pub) -> None:
        assert decide(pub(EARLY), [], "dst", NOW) == Decision(Action.ADD, Code.NEW, "new in this store")

    def test_other_names_do_not_matter(self, pub: Pub, make_certificate: MakeCertificate) -> None:
        others = held((make_certificate("CN=sub;O=Example"), "dst"), (make_certificate("CN=pub;O=Other"), "dst"))
        assert outcome(decide(pub(EARLY), others, "dst", NOW)) == (Action.ADD, Code.NEW)

    def test_the_same_certificate_again_changes_nothing(self, pub: Pub) -> None:
        same = pub(EARLY)
        decision = decide(same, held((same, "dst")), "dst", NOW)
        assert (decision.action, decision.reason) == (Action.SKIP, "already held, from dst")

    def test_a_later_start_of_validity_takes_the_place_of_the_earlier(self, pub: Pub) -> None:
        old, new = pub(EARLY), pub(LATE)
        decision = decide(new, held((old, "dst")), "dst", NOW)
        assert outcome(decision) == (Action.REPLACE, Code.NEWER)
        assert decision.displaced == (old,)

    def test_an_earlier_one_is_skipped(self, pub: Pub) -> None:
        decision = decide(pub(EARLY), held((pub(LATE), "dst")), "dst", NOW)
        assert outcome(decision) == (Action.SKIP, Code.OLDER)
        assert decision.displaced == ()

    def test_an_equal_start_does_not_displace(self, pub: Pub) -> None:
        assert outcome(decide(pub(LATE), held((pub(LATE), "dst")), "dst", NOW)) == (Action.SKIP, Code.OLDER)

    def test_all_the_earlier_ones_make_room(self, pub: Pub) -> None:
        olds = pub(EARLY), pub(EARLY + DAY)
        assert decide(pub(LATE), held(*((old, "dst") for old in olds)), "dst", NOW).displaced == olds

    def test_names_are_equal_in_any_letter_case(self, pub: Pub, make_certificate: MakeCertificate) -> None:
        shouted = make_certificate("CN=PUB;O=EXAMPLE", not_before=EARLY)
        assert decide(pub(LATE), held((shouted, "dst")), "dst", NOW).displaced == (shouted,)

    def test_the_key_s_algorithm_does_not_make_another_name(self, pub: Pub, make_certificate: MakeCertificate) -> None:
        elliptic = make_certificate("CN=pub;O=Example", ec=True, not_before=EARLY)
        assert outcome(decide(pub(LATE), held((elliptic, "dst")), "dst", NOW)) == (Action.REPLACE, Code.NEWER)


class TestAmongClusters:
    def test_a_foreign_certificate_never_displaces_the_cluster_s_own(self, pub: Pub) -> None:
        decision = decide(pub(LATE), held((pub(EARLY), OWN)), "dst", NOW)
        assert outcome(decision) == (Action.ADD, Code.BESIDE_OWN)
        assert "beside this cluster's own" in decision.reason
        assert decision.displaced == ()

    def test_nor_is_it_kept_out_by_a_later_own_one(self, pub: Pub) -> None:
        assert outcome(decide(pub(EARLY), held((pub(LATE), OWN)), "dst", NOW)) == (Action.ADD, Code.BESIDE_OWN)

    def test_two_foreign_clusters_with_equal_host_names_are_both_kept(self, pub: Pub) -> None:
        decision = decide(pub(LATE), held((pub(EARLY), "osaka"), (pub(EARLY), "kyoto")), "dst", NOW)
        assert outcome(decision) == (Action.ADD, Code.BESIDE_FOREIGN)
        assert "kyoto, osaka" in decision.reason

    def test_a_newer_one_replaces_its_cluster_s_and_leaves_the_others(self, pub: Pub) -> None:
        theirs, mine, own = pub(EARLY), pub(EARLY), pub(EARLY)
        decision = decide(pub(LATE), held((theirs, "osaka"), (mine, "dst"), (own, OWN)), "dst", NOW)
        assert (decision.action, decision.displaced) == (Action.REPLACE, (mine,))

    def test_what_came_by_hand_counts_as_another_origin(self, pub: Pub) -> None:
        assert outcome(decide(pub(LATE), held((pub(EARLY), "upload")), "dst", NOW)) == (Action.ADD, Code.BESIDE_FOREIGN)

    def test_the_cluster_s_own_coming_back_is_recognised(self, pub: Pub) -> None:
        own = pub(EARLY)
        decision = decide(own, held((own, OWN)), "dst", NOW)
        assert (decision.action, decision.code, decision.reason) == (Action.SKIP, Code.OWN, "this cluster's own")

    def test_the_same_certificate_from_another_cluster_is_held_already(self, pub: Pub) -> None:
        shared = pub(EARLY)
        assert outcome(decide(shared, held((shared, "osaka")), "dst", NOW)) == (Action.SKIP, Code.HELD)


class TestWhatNoStoreTakes:
    def test_an_expired_certificate_is_refused_with_the_day_it_ended(self, pub: Pub) -> None:
        expired = pub(datetime(2010, 1, 1, tzinfo=UTC))
        decision = decide(expired, [], "dst", NOW)
        assert outcome(decision) == (Action.REFUSE, Code.EXPIRED)
        assert "2014-12-31" in decision.reason

    def test_its_last_second_is_still_valid(self, pub: Pub) -> None:
        certificate = pub(EARLY)
        assert refusal(certificate, certificate.not_after) is None
        assert refusal(certificate, certificate.not_after + timedelta(seconds=1)) is not None

    def test_an_expired_one_that_is_held_stays_held(self, pub: Pub) -> None:
        expired = pub(datetime(2010, 1, 1, tzinfo=UTC))
        assert outcome(decide(expired, held((expired, "dst")), "dst", NOW)) == (Action.SKIP, Code.HELD)

    @pytest.mark.parametrize(
        ("bits", "code"), [(512, Code.WEAK_KEY), (1023, Code.WEAK_KEY), (4097, Code.LARGE_KEY), (8192, Code.LARGE_KEY)]
    )
    def test_an_rsa_key_too_short_or_too_long_is_refused(self, pub: Pub, bits: int, code: Code) -> None:
        assert outcome(decide(replace(pub(EARLY), key_bits=bits), [], "dst", NOW)) == (Action.REFUSE, code)

    @pytest.mark.parametrize("bits", [1024, 2048, 4096])
    def test_usual_rsa_keys_are_welcome(self, pub: Pub, bits: int) -> None:
        assert refusal(replace(pub(EARLY), key_bits=bits), NOW) is None

    def test_an_elliptic_key_is_not_measured_as_rsa(self, make_certificate: MakeCertificate) -> None:
        assert refusal(make_certificate(ec=True), NOW) is None

    @pytest.mark.parametrize("broken", ["2a864886f70d010104", "2a864886f70d010102"])
    def test_a_signature_that_can_be_forged(self, pub: Pub, broken: str) -> None:
        sha256_with_rsa = bytes.fromhex("2a864886f70d01010b")
        forged = Certificate.parse(pub(EARLY).der.replace(sha256_with_rsa, bytes.fromhex(broken)))
        assert outcome(decide(forged, [], "dst", NOW)) == (Action.REFUSE, Code.BROKEN_SIGNATURE)

    def test_sha_1_is_taken_without_a_word(self, pub: Pub) -> None:
        # The library signs nothing with SHA-1 any more; what is in the field is, so it is written in by hand.
        sha256_with_rsa, sha1_with_rsa = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
        decision = decide(Certificate.parse(pub(EARLY).der.replace(sha256_with_rsa, sha1_with_rsa)), [], "dst", NOW)
        assert (decision.action, decision.warnings) == (Action.ADD, ())

    def test_a_wildcard_in_the_common_name(self, make_certificate: MakeCertificate) -> None:
        decision = decide(make_certificate("CN=*.example.com"), [], "dst", NOW)
        assert outcome(decision) == (Action.REFUSE, Code.WILDCARD)
        assert "*.example.com" in decision.reason

    def test_a_wildcard_among_the_alternative_names(self, rsa_key: rsa.RSAPrivateKey) -> None:
        assert outcome(decide(with_names(rsa_key, "pub", "*.voice"), [], "dst", NOW)) == (Action.REFUSE, Code.WILDCARD)
        assert refusal(with_names(rsa_key, "pub", "sub"), NOW) is None

    def test_alternative_names_that_cannot_be_read_are_no_wildcards(self, rsa_key: rsa.RSAPrivateKey) -> None:
        broken = with_names(rsa_key, "pubs").der.replace(b"\x82\x04pubs", b"\x82\x7fpubs")
        assert refusal(Certificate.parse(broken), NOW) is None


def with_names(key: rsa.RSAPrivateKey, *names: str) -> Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pub")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7, EARLY, LATE + 999 * DAY)
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return Certificate.of(builder.add_extension(alternatives, critical=False).sign(key, hashes.SHA256()))


class TestNotYetValid:
    def test_it_is_added_with_a_warning(self, pub: Pub) -> None:
        decision = decide(pub(NOW + DAY), [], "dst", NOW)
        assert decision.action == Action.ADD
        assert decision.warnings == ("not valid before 2026-06-02 00:00 UTC",)

    def test_it_replaces_with_a_warning(self, pub: Pub) -> None:
        decision = decide(pub(NOW + DAY), held((pub(EARLY), "dst")), "dst", NOW)
        assert decision.action == Action.REPLACE
        assert decision.warnings

    def test_one_valid_from_this_second_needs_none(self, pub: Pub) -> None:
        assert decide(pub(NOW), [], "dst", NOW).warnings == ()
