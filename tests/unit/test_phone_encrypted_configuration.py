"""A phone whose configuration is encrypted: the short file, the certificate it names, the file that only it reads."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.phone.boot import BootMachine
from certferry.phone.flash import Flash
from certferry.phone.identity import Own, PhoneIdentity, no_identity
from certferry.phone.outcome import Code, Step
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import PhoneConfig
from conftest import MakeCertificate
from phone_clusters import DEVICE, PaperCluster, PaperWorld, vouching

ITL, SHORT, ENCRYPTED = f"ITL{DEVICE}.tlv", f"{DEVICE}.cnf.xml.sgn", f"{DEVICE}.cnf.xml.enc.sgn"


@pytest.fixture(scope="module")
def cluster(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> PaperCluster:
    return PaperCluster.of("src", rsa_key, make_certificate, ";O=Example")


@pytest.fixture(scope="module")
def lsc(make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey) -> Certificate:
    """The phone's certificate."""
    return make_certificate(f"CN={DEVICE}", key=other_rsa_key)


@pytest.fixture(scope="module")
def own(lsc: Certificate, other_rsa_key: rsa.RSAPrivateKey) -> Own:
    return lambda: PhoneIdentity(lsc, other_rsa_key)


def boot(world: PaperWorld, own: Own, flash: Flash) -> BootMachine:
    machine = BootMachine(DEVICE, flash, own=own)
    world.boot(machine)
    return machine


def failure(machine: BootMachine) -> tuple[Step, Code, str]:
    assert machine.outcome is not None
    assert not machine.outcome.ok
    return machine.outcome.step, machine.outcome.code, machine.outcome.reason


def files(cluster: PaperCluster, lsc: Certificate) -> dict[str, bytes]:
    return {
        ITL: cluster.itl(),
        SHORT: cluster.short_config(lsc),
        ENCRYPTED: cluster.encrypted_config(lsc),
    }


def test_the_phone_reads_the_short_file_finds_its_certificate_named_and_opens_the_encrypted_one(
    cluster: PaperCluster, lsc: Certificate, own: Own
) -> None:
    world = PaperWorld(files(cluster, lsc))
    machine = boot(world, own, cluster.flash())
    assert world.told[-5:] == [
        f"GET {SHORT}",
        f"GET {ENCRYPTED}",
        f"SHOW {ENCRYPTED}(TFTP)",
        "REGISTER src0:5060",
        "END registration phone.registered",
    ]
    config = PhoneConfig.parse(machine.flash.config or b"")
    assert (config.encrypted, config.is_short, len(config.tvs)) == (True, False, 2)
    assert machine.flash.config_signed


def test_the_next_boot_asks_for_the_encrypted_file_at_once(cluster: PaperCluster, lsc: Certificate, own: Own) -> None:
    flash = boot(PaperWorld(files(cluster, lsc)), own, cluster.flash()).flash
    world = PaperWorld(files(cluster, lsc))
    boot(world, own, flash)
    assert f"GET {SHORT}" not in world.told
    assert world.told[-1] == "END registration phone.registered"


def test_once_encryption_is_switched_off_it_is_told_so_and_takes_the_signed_file(
    cluster: PaperCluster, lsc: Certificate, own: Own
) -> None:
    flash = boot(PaperWorld(files(cluster, lsc)), own, cluster.flash()).flash
    world = PaperWorld(cluster.files())
    machine = boot(world, own, flash)
    asked = [line for line in world.told if ".cnf.xml" in line and line.startswith("GET")]
    assert asked == [f"GET {ENCRYPTED}", f"GET {SHORT}"]
    assert machine.flash.config == cluster.xml()


def test_a_phone_of_another_cluster_asks_tvs_about_the_lists_only(
    cluster: PaperCluster,
    lsc: Certificate,
    own: Own,
    make_certificate: MakeCertificate,
    other_rsa_key: rsa.RSAPrivateKey,
) -> None:
    old = PaperCluster.of("old", other_rsa_key, make_certificate, ";O=Example")
    world = PaperWorld(files(cluster, lsc), vouching(cluster.callmanager))
    assert boot(world, own, old.flash()).outcome is not None
    assert [line for line in world.told if line.startswith("TVS")] == ["TVS old0 CN=src-callmanager"]
    assert world.told[-1] == "END registration phone.registered"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cert_hash": ""}, "for no certificate that it names"),
        ({"cert_hash": "00" * 16}, "not the phone's"),
    ],
)
def test_a_file_for_another_certificate_is_not_asked_for(
    cluster: PaperCluster, lsc: Certificate, own: Own, changes: dict[str, str], why: str
) -> None:
    world = PaperWorld(files(cluster, lsc) | {SHORT: cluster.short_config(lsc, **changes)})
    machine = boot(world, own, cluster.flash())
    step, code, reason = failure(machine)
    assert (step, code) == (Step.CONFIGURATION, Code.CONFIG_ENCRYPTED)
    assert why in reason
    assert f"GET {ENCRYPTED}" not in world.told
    assert machine.flash == cluster.flash()


def test_capitals_and_colons_in_the_hash_do_not_count(cluster: PaperCluster, lsc: Certificate, own: Own) -> None:
    plain = PhoneIdentity(lsc, None).cert_hash.upper()
    told = ":".join(plain[at : at + 2] for at in range(0, len(plain), 2))
    world = PaperWorld(files(cluster, lsc) | {SHORT: cluster.short_config(lsc, cert_hash=told)})
    outcome = boot(world, own, cluster.flash()).outcome
    assert outcome is not None
    assert outcome.ok


def test_a_phone_without_a_certificate_says_that_it_has_none(cluster: PaperCluster, lsc: Certificate) -> None:
    machine = boot(PaperWorld(files(cluster, lsc)), no_identity, cluster.flash())
    _, code, reason = failure(machine)
    assert code is Code.CONFIG_ENCRYPTED
    assert reason.endswith("the phone has no certificate of its own")


@pytest.mark.parametrize("is_rsa", [False, True])
def test_a_key_that_is_not_rsa_or_not_the_phone_s_opens_nothing(
    cluster: PaperCluster, lsc: Certificate, rsa_key: rsa.RSAPrivateKey, *, is_rsa: bool
) -> None:
    stranger = PhoneIdentity(lsc, rsa_key if is_rsa else None)
    machine = boot(PaperWorld(files(cluster, lsc)), lambda: stranger, cluster.flash())
    assert failure(machine)[:2] == (Step.CONFIGURATION, Code.CONFIG_ENCRYPTED)
    assert machine.flash == cluster.flash()


def test_a_short_file_without_the_encrypted_one_ends_the_boot(
    cluster: PaperCluster, lsc: Certificate, own: Own
) -> None:
    world = PaperWorld({ITL: cluster.itl(), SHORT: cluster.short_config(lsc)})
    assert failure(boot(world, own, cluster.flash()))[:2] == (Step.CONFIGURATION, Code.CONFIG_MISSING)


def test_an_encrypted_file_that_only_points_to_itself_does_not_go_round(
    cluster: PaperCluster, lsc: Certificate, own: Own
) -> None:
    short = PhoneConfig(DEVICE, (), encrypted=True, full=False, cert_hash="").encode()
    world = PaperWorld(files(cluster, lsc) | {ENCRYPTED: cluster.encrypted_config(lsc, short)})
    assert failure(boot(world, own, cluster.flash()))[1] is Code.CONFIG_MALFORMED


@pytest.mark.parametrize("damage", [b"", b"<device/>", None])
def test_an_encrypted_file_that_is_none_is_refused(
    cluster: PaperCluster, lsc: Certificate, own: Own, damage: bytes | None
) -> None:
    broken = cluster.encrypted_config(lsc)[:-5] if damage is None else damage
    machine = boot(PaperWorld(files(cluster, lsc) | {ENCRYPTED: broken}), own, cluster.flash())
    assert failure(machine)[0] is Step.CONFIGURATION
    assert machine.flash == cluster.flash()


def test_a_phone_without_lists_opens_it_unverified(cluster: PaperCluster, lsc: Certificate, own: Own) -> None:
    plain = PhoneConfig(DEVICE, (), encrypted=True, full=False, cert_hash=PhoneIdentity(lsc, None).cert_hash).encode()
    machine = boot(PaperWorld({f"{DEVICE}.cnf.xml": plain, ENCRYPTED: cluster.encrypted_config(lsc)}), own, Flash())
    assert machine.outcome is not None
    assert machine.outcome.ok
