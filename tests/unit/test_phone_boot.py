"""The boot of a phone, step by step, against clusters that exist on paper."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.errors import MalformedError
from certferry.phone.boot import BootMachine
from certferry.phone.events import AskTvs, FetchFailed, FileReceived, Registered, ShowStatus, TvsAnswered, TvsFailed
from certferry.phone.flash import Flash
from certferry.phone.limits import Limits
from certferry.phone.outcome import Code, Step
from certferry.phone.status import Status
from certferry.phone.vouching import TvsMemory
from certferry.wire.roles import Role
from certferry.wire.trust_list import TrustList, build_trust_list
from certferry.wire.tvs import CertificateQueryReply
from certferry.wire.tvs import Status as TvsStatus
from conftest import MakeCertificate
from phone_clusters import DEVICE, PaperCluster, PaperWorld, vouching

DEFAULT = "XMLDefault.cnf.xml"
CTL, ITL, CONFIG = f"CTL{DEVICE}.tlv", f"ITL{DEVICE}.tlv", f"{DEVICE}.cnf.xml.sgn"


@pytest.fixture(scope="module")
def source(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> PaperCluster:
    return PaperCluster.of("src", rsa_key, make_certificate, ";O=Example")


@pytest.fixture(scope="module")
def destination(make_certificate: MakeCertificate, other_rsa_key: rsa.RSAPrivateKey) -> PaperCluster:
    return PaperCluster.of("dst", other_rsa_key, make_certificate, ";O=Example")


def boot(flash: Flash, world: PaperWorld) -> BootMachine:
    machine = BootMachine(DEVICE, flash)
    world.boot(machine)
    return machine


def failure(machine: BootMachine) -> tuple[Step, Code]:
    assert machine.outcome is not None
    assert not machine.outcome.ok
    return machine.outcome.step, machine.outcome.code


# The two sequences of the procedure


def test_a_phone_between_non_secure_clusters_asks_the_old_tvs_about_the_itl_and_registers(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld(destination.files(), vouching(destination.callmanager))
    machine = boot(source.flash(), world)
    assert world.told == [
        f"GET {CTL}",
        "SHOW File Not Found <CTLFile.tlv>",
        f"GET {ITL}",
        "TVS src0 CN=dst-callmanager",
        "SHOW Trust List Updated",
        f"GET {CONFIG}",
        f"SHOW {CONFIG}(TFTP)",
        "REGISTER dst0:5060",
        "END registration phone.registered",
    ]
    assert machine.flash == Flash(None, destination.itl(), destination.xml(), config_signed=True)


def test_a_phone_between_secure_clusters_asks_about_the_ctl_and_takes_the_itl_on_its_word(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld(destination.files(secure=True), vouching(destination.callmanager))
    machine = boot(source.flash(secure=True), world)
    assert world.told == [
        f"GET {CTL}",
        "TVS src0 CN=dst-callmanager",
        f"GET {ITL}",
        "SHOW Trust List Updated",
        f"GET {CONFIG}",
        f"SHOW {CONFIG}(TFTP)",
        "REGISTER dst0:5061 secure",
        "END registration phone.registered",
    ]
    assert machine.flash.ctl == destination.ctl()


@pytest.mark.parametrize("secure", [False, True])
def test_lists_signed_by_the_recovery_certificate_move_the_phone_as_well(
    source: PaperCluster, destination: PaperCluster, *, secure: bool
) -> None:
    world = PaperWorld(destination.files(secure=secure, signer=destination.recovery), vouching(destination.recovery))
    machine = boot(source.flash(secure=secure), world)
    assert "TVS src0 CN=dst-recovery" in world.told
    assert machine.outcome is not None
    assert machine.outcome.ok


def test_the_question_is_that_of_a_phone(source: PaperCluster, destination: PaperCluster) -> None:
    world = PaperWorld(destination.files(), vouching(destination.callmanager))
    boot(source.flash(), world)
    question = next(action for action in world.done if isinstance(action, AskTvs))
    assert question.member == ("src0", 2445)
    assert question.trusted == (source.tvs,)
    assert question.request.session_id == 1001
    assert question.request.device == f"CP-8861-{DEVICE}"
    assert question.request.serial == destination.callmanager.serial


# At home, and for the first time


def test_a_reset_at_home_changes_no_list_and_asks_nobody(source: PaperCluster) -> None:
    world = PaperWorld(source.files(secure=True))
    machine = boot(Flash(source.ctl(), source.files(secure=True)[ITL], source.xml()), world)
    assert machine.outcome is not None
    assert machine.outcome.ok
    assert not [line for line in world.told if line.startswith("TVS")]
    assert world.shown == [f"{CONFIG}(TFTP)"]


def test_a_renewed_list_by_a_signer_the_phone_knows_is_installed_without_a_question(source: PaperCluster) -> None:
    world = PaperWorld({**source.files(), ITL: source.itl(source.recovery)})
    machine = boot(source.flash(), world)
    assert machine.flash.itl == source.itl(source.recovery)
    assert Status.TRUST_LIST_UPDATED in world.shown


def test_a_phone_without_lists_believes_the_first_itl_it_sees(destination: PaperCluster) -> None:
    world = PaperWorld(destination.files())
    machine = boot(Flash(), world)
    assert world.shown[:2] == ["File Not Found <CTLFile.tlv>", "ITL installed"]
    assert machine.flash == Flash(None, destination.itl(), destination.xml(), config_signed=True)


def test_a_phone_without_lists_believes_the_first_ctl_and_checks_the_itl_with_it(destination: PaperCluster) -> None:
    machine = boot(Flash(), PaperWorld(destination.files(secure=True)))
    assert machine.outcome is not None
    assert machine.outcome.ok
    assert next(entry.found for entry in machine.journal if entry.file == ITL) == "in the CTL"


def test_an_itl_that_the_first_ctl_does_not_know_leaves_a_new_phone_empty(
    source: PaperCluster, destination: PaperCluster
) -> None:
    machine = boot(Flash(), PaperWorld({CTL: source.ctl(), ITL: destination.itl()}))
    assert failure(machine) == (Step.TVS, Code.TVS_NONE_KNOWN)
    assert machine.flash == Flash()


def test_where_there_are_no_lists_at_all_the_plain_configuration_is_taken(source: PaperCluster) -> None:
    world = PaperWorld({f"{DEVICE}.cnf.xml": source.xml()})
    machine = boot(Flash(), world)
    assert world.told[:7] == [
        f"GET {CTL}",
        "SHOW File Not Found <CTLFile.tlv>",
        f"GET {ITL}",
        "GET ITLFile.tlv",
        "SHOW No Trust List Installed",
        f"GET {DEVICE}.cnf.xml",
        f"SHOW {DEVICE}.cnf.xml(TFTP)",
    ]
    assert machine.flash == Flash(config=source.xml())


def test_the_generic_itl_is_asked_for_after_both_misses_and_judged_like_any_other(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld({"ITLFile.tlv": destination.itl()}, vouching())
    machine = boot(source.flash(), world)
    assert "GET ITLFile.tlv" in world.told
    assert failure(machine) == (Step.TVS, Code.TVS_INVALID)


def test_the_default_configuration_is_asked_for_when_the_device_has_none(source: PaperCluster) -> None:
    """Where phones may register themselves, it is taken."""
    world = PaperWorld({ITL: source.itl(), f"{DEFAULT}.sgn": source.default()})
    machine = boot(source.flash(), world)
    assert world.told[-5:] == [
        f"GET {CONFIG}",
        f"GET {DEFAULT}.sgn",
        f"SHOW {DEFAULT}.sgn(TFTP)",
        "REGISTER src0:5060",
        "END registration phone.registered",
    ]
    assert machine.flash.config == source.default_xml()
    assert machine.flash.config_signed


def test_a_phone_without_lists_asks_for_the_plain_default_configuration(source: PaperCluster) -> None:
    world = PaperWorld({DEFAULT: source.default_xml()})
    assert boot(Flash(), world).flash.config == source.default_xml()
    assert f"GET {DEFAULT}" in world.told


def test_a_cluster_that_does_not_know_the_phone_refuses_it_and_that_is_said(source: PaperCluster) -> None:
    world = PaperWorld(
        {"ITLFile.tlv": source.itl(), f"{DEFAULT}.sgn": source.default()}, refusing=frozenset({"src0", "src1"})
    )
    machine = boot(source.flash(), world)
    assert failure(machine) == (Step.REGISTRATION, Code.DEVICE_UNKNOWN)
    assert machine.outcome is not None
    assert machine.outcome.reason.startswith("the cluster does not know this phone and gave it the default")
    assert "REGISTER src1:5060" in world.told


def test_a_phone_that_took_the_default_configuration_has_nobody_left_to_ask(
    source: PaperCluster, destination: PaperCluster
) -> None:
    unknown = PaperWorld({ITL: source.itl(), f"{DEFAULT}.sgn": source.default()}, refusing=frozenset({"src0", "src1"}))
    flash = boot(source.flash(), unknown).flash
    machine = boot(flash, PaperWorld(destination.files(), vouching(destination.callmanager)))
    assert failure(machine) == (Step.TVS, Code.TVS_NONE_KNOWN)


def test_a_default_configuration_by_a_stranger_is_asked_about_like_any_other(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld({ITL: source.itl(), f"{DEFAULT}.sgn": destination.default()}, vouching())
    machine = boot(source.flash(), world)
    assert failure(machine) == (Step.TVS, Code.TVS_INVALID)
    assert machine.flash == source.flash()


# TVS


def test_the_members_of_the_old_configuration_are_asked_in_turn_until_one_answers(
    source: PaperCluster, destination: PaperCluster
) -> None:
    vouch = vouching(destination.callmanager)

    def tvs(question: AskTvs) -> TvsAnswered | TvsFailed:
        if question.member[0] == "src0":
            return TvsFailed(question.member, Code.TVS_UNREACHABLE, "connection refused")
        return vouch(question)

    world = PaperWorld(destination.files(), tvs)
    machine = boot(source.flash(), world)
    assert [line for line in world.told if line.startswith("TVS")] == [
        "TVS src0 CN=dst-callmanager",
        "TVS src1 CN=dst-callmanager",
    ]
    assert machine.outcome is not None
    assert machine.outcome.ok


def test_when_no_tvs_can_be_asked_the_failure_that_says_most_is_told(
    source: PaperCluster, destination: PaperCluster
) -> None:
    codes = {"src0": Code.TVS_CERTIFICATE, "src1": Code.TVS_UNREACHABLE}
    world = PaperWorld(destination.files(), lambda q: TvsFailed(q.member, codes[q.member[0]], f"{q.member[0]} failed"))
    machine = boot(source.flash(), world)
    assert failure(machine) == (Step.TVS, Code.TVS_CERTIFICATE)
    assert machine.outcome is not None
    assert "src0 failed" in machine.outcome.reason
    assert machine.flash == source.flash()


def test_a_failure_with_any_other_code_ends_as_that_code(source: PaperCluster, destination: PaperCluster) -> None:
    world = PaperWorld(destination.files(), lambda q: TvsFailed(q.member, Code.TVS_INVALID, "odd"))
    assert failure(boot(source.flash(), world)) == (Step.TVS, Code.TVS_INVALID)


def test_an_invalid_answer_is_final_and_the_phone_keeps_what_it_had(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld(destination.files(), vouching())
    machine = boot(source.flash(), world)
    assert len([line for line in world.told if line.startswith("TVS")]) == 1
    assert failure(machine) == (Step.TVS, Code.TVS_INVALID)
    assert world.shown[-2:] == ["Trust List Update Failed", "Trust List update failed, verification failure"]
    assert machine.flash == source.flash()


def test_a_ctl_that_tvs_does_not_vouch_for_changes_nothing(source: PaperCluster, destination: PaperCluster) -> None:
    machine = boot(source.flash(secure=True), PaperWorld(destination.files(secure=True), vouching()))
    assert failure(machine) == (Step.TVS, Code.TVS_INVALID)
    assert machine.flash == source.flash(secure=True)


@pytest.mark.parametrize("roles", [(), (Role.TFTP,), (Role.CALLMANAGER_TFTP,)])
def test_a_list_signer_that_tvs_does_not_call_a_sast_is_rejected(
    source: PaperCluster, destination: PaperCluster, roles: tuple[int, ...]
) -> None:
    world = PaperWorld(destination.files(), vouching(destination.callmanager, roles=roles))
    assert failure(boot(source.flash(), world)) == (Step.TVS, Code.TVS_ROLE)


def test_the_role_sast_alone_is_enough_for_a_list(source: PaperCluster, destination: PaperCluster) -> None:
    world = PaperWorld(destination.files(), vouching(destination.callmanager, roles=(Role.SAST,)))
    assert boot(source.flash(), world).flash.itl == destination.itl()


@pytest.mark.parametrize("certificate", [None, b"no certificate"])
def test_a_valid_answer_without_a_readable_certificate_is_rejected(
    source: PaperCluster, destination: PaperCluster, certificate: bytes | None
) -> None:
    reply = CertificateQueryReply(1001, TvsStatus.VALID, certificate, (0, 3), 60)
    world = PaperWorld(destination.files(), lambda q: TvsAnswered(q.member, reply))
    assert failure(boot(source.flash(), world)) == (Step.TVS, Code.TVS_OTHER)


def test_the_certificate_of_somebody_else_is_rejected(source: PaperCluster, destination: PaperCluster) -> None:
    reply = CertificateQueryReply(1001, TvsStatus.VALID, destination.capf.der, (0, 3), 60)
    world = PaperWorld(destination.files(), lambda q: TvsAnswered(q.member, reply))
    assert failure(boot(source.flash(), world)) == (Step.TVS, Code.TVS_OTHER)


def test_a_list_that_its_vouched_for_signer_did_not_sign_is_rejected(
    source: PaperCluster, destination: PaperCluster, make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    namesake = make_certificate(
        destination.callmanager.subject, key=rsa_key, serial=int.from_bytes(destination.callmanager.serial)
    )
    machine = boot(source.flash(), PaperWorld(destination.files(), vouching(namesake)))
    assert failure(machine) == (Step.ITL, Code.LIST_SIGNATURE)
    assert machine.flash == source.flash()


def test_a_tampered_list_of_a_known_signer_is_rejected(source: PaperCluster) -> None:
    data = bytearray(source.itl(source.recovery))
    data[-1] ^= 1
    machine = boot(source.flash(), PaperWorld({**source.files(), ITL: bytes(data)}))
    assert failure(machine) == (Step.ITL, Code.LIST_SIGNATURE)


def test_a_phone_whose_configuration_names_no_tvs_can_ask_nobody(
    source: PaperCluster, destination: PaperCluster
) -> None:
    flash = Flash(None, source.itl(), source.xml(tvs=0))
    assert failure(boot(flash, PaperWorld(destination.files()))) == (Step.TVS, Code.TVS_NONE_KNOWN)


@pytest.mark.parametrize("config", [None, b"<device", b"no xml"])
def test_a_phone_without_a_readable_configuration_can_ask_nobody(
    source: PaperCluster, destination: PaperCluster, config: bytes | None
) -> None:
    flash = Flash(None, source.itl(), config)
    assert failure(boot(flash, PaperWorld(destination.files()))) == (Step.TVS, Code.TVS_NONE_KNOWN)


def test_a_phone_whose_itl_has_no_tvs_asks_nobody(source: PaperCluster, destination: PaperCluster) -> None:
    without_tvs = source.signed("ITL", [source.record(source.callmanager, role) for role in (Role.SAST, Role.TFTP)])
    flash = Flash(None, without_tvs, source.xml())
    assert failure(boot(flash, PaperWorld(destination.files()))) == (Step.TVS, Code.TVS_NOT_IN_ITL)


# The TVS cache


def test_an_answer_is_remembered_until_a_trust_list_changes(source: PaperCluster, destination: PaperCluster) -> None:
    memory = TvsMemory()
    failing = PaperWorld({ITL: destination.itl()[:-1] + b"\0"}, vouching(destination.callmanager))
    failing.boot(BootMachine(DEVICE, source.flash(), memory=memory))
    assert len(memory) == 1
    again = PaperWorld(destination.files())
    machine = BootMachine(DEVICE, source.flash(), memory=memory)
    again.boot(machine)
    assert machine.outcome is not None
    assert machine.outcome.ok
    assert "TVS cache" in [entry.member for entry in machine.journal]
    assert len(memory) == 0


def test_an_answer_is_forgotten_when_its_time_is_over(source: PaperCluster, destination: PaperCluster) -> None:
    memory = TvsMemory()
    world = PaperWorld({ITL: destination.itl()[:-1] + b"\0"}, vouching(destination.callmanager))
    world.boot(BootMachine(DEVICE, source.flash(), memory=memory))
    machine = BootMachine(DEVICE, source.flash(), memory=memory)
    machine.start(100_000.0)
    machine.receive(FileReceived(CTL, destination.itl()), 100_000.0)
    assert isinstance(machine._waiting, AskTvs)


# CTL and ITL together


def test_an_itl_of_a_subscriber_that_the_ctl_names_for_call_control_needs_no_tvs(
    source: PaperCluster, destination: PaperCluster
) -> None:
    files = {**destination.files(secure=True), ITL: destination.itl(destination.subscriber)}
    world = PaperWorld(files, vouching(destination.callmanager))
    machine = boot(source.flash(secure=True), world)
    assert len([line for line in world.told if line.startswith("TVS")]) == 1
    assert machine.flash.itl == files[ITL]


def test_a_new_ctl_is_not_installed_when_the_itl_beside_it_is_rejected(
    source: PaperCluster, destination: PaperCluster
) -> None:
    files = {**destination.files(secure=True), ITL: b"broken"}
    machine = boot(source.flash(secure=True), PaperWorld(files, vouching(destination.callmanager)))
    assert failure(machine) == (Step.ITL, Code.LIST_MALFORMED)
    assert machine.flash == source.flash(secure=True)


def test_a_new_ctl_is_not_installed_beside_the_itl_of_another_cluster(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld({CTL: destination.ctl()}, vouching(destination.callmanager))
    machine = boot(source.flash(secure=True), world)
    assert failure(machine) == (Step.ITL, Code.ITL_MISSING)
    assert "GET ITLFile.tlv" not in world.told
    assert machine.flash == source.flash(secure=True)


def test_a_ctl_left_behind_does_not_know_the_new_signer_so_tvs_is_asked(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld(destination.files(), vouching(destination.callmanager))
    machine = boot(source.flash(secure=True), world)
    assert "TVS src0 CN=dst-callmanager" in world.told
    assert machine.flash == Flash(source.ctl(), destination.itl(), destination.xml(), config_signed=True)


# Rollback


def test_a_phone_with_emptied_lists_accepts_any_itl(source: PaperCluster, destination: PaperCluster) -> None:
    flash = Flash(None, source.rollback_itl(), source.xml())
    world = PaperWorld(destination.files())
    machine = boot(flash, world)
    assert machine.outcome is not None
    assert machine.outcome.ok
    assert not [line for line in world.told if line.startswith("TVS")]


def test_a_phone_with_emptied_lists_takes_an_unsigned_configuration(
    source: PaperCluster, destination: PaperCluster
) -> None:
    flash = Flash(source.emptied_ctl(), source.rollback_itl(), source.xml())
    machine = boot(flash, PaperWorld({f"{DEVICE}.cnf.xml": destination.xml()}))
    assert machine.flash.config == destination.xml()
    assert not machine.flash.config_signed


def test_emptied_lists_do_not_open_the_ctl(source: PaperCluster, destination: PaperCluster) -> None:
    flash = Flash(source.emptied_ctl(), source.rollback_itl(), source.xml())
    machine = boot(flash, PaperWorld(destination.files(secure=True)))
    assert failure(machine) == (Step.CTL, Code.LIST_ROLLED_BACK)


def test_the_rollback_list_of_its_own_cluster_is_installed(source: PaperCluster) -> None:
    world = PaperWorld({**source.files(), ITL: source.rollback_itl()})
    machine = boot(source.flash(), world)
    assert machine.flash.itl == source.rollback_itl()
    assert f"GET {DEVICE}.cnf.xml" in world.told


def test_with_an_emptied_itl_a_ctl_in_force_still_decides(source: PaperCluster, destination: PaperCluster) -> None:
    flash = Flash(source.ctl(), source.rollback_itl(), source.xml())
    machine = boot(flash, PaperWorld(destination.files(secure=True)))
    assert failure(machine) == (Step.CTL, Code.LIST_ROLLED_BACK)
    assert machine.outcome is not None
    assert "Prepare Cluster for Rollback" in machine.outcome.reason


# Files that cannot be used


@pytest.mark.parametrize(("name", "step"), [(CTL, Step.CTL), (ITL, Step.ITL)])
def test_a_list_that_cannot_be_parsed_is_rejected(source: PaperCluster, name: str, step: Step) -> None:
    world = PaperWorld({**source.files(), name: b"\x01\x00"})
    machine = boot(source.flash(), world)
    assert failure(machine) == (step, Code.LIST_MALFORMED)
    assert world.shown[-1] == "Trust List Update Failed"


def test_a_list_above_64_kilobytes_is_refused(source: PaperCluster) -> None:
    big = source.itl(source.recovery, padding=80)
    assert len(big) > 64 * 1024
    machine = boot(source.flash(), PaperWorld({**source.files(), ITL: big}))
    assert failure(machine) == (Step.ITL, Code.LIST_TOO_BIG)


@pytest.mark.parametrize(("name", "step"), [(CTL, Step.CTL), (ITL, Step.ITL), (CONFIG, Step.CONFIGURATION)])
def test_a_file_server_that_does_not_answer_ends_the_boot_there(source: PaperCluster, name: str, step: Step) -> None:
    world = PaperWorld(source.files(), silent_files=frozenset({name}))
    machine = boot(source.flash(), world)
    assert failure(machine) == (step, Code.FILE_SERVER_FAILED)
    assert Status.TFTP_TIMEOUT in world.shown


def test_a_flash_with_a_broken_list_is_no_phone() -> None:
    with pytest.raises(MalformedError):
        BootMachine(DEVICE, Flash(itl=b"broken"))


# The configuration


def config_failure(source: PaperCluster, data: bytes) -> tuple[Step, Code]:
    machine = boot(source.flash(), PaperWorld({**source.files(), CONFIG: data}))
    assert machine.flash == source.flash()
    return failure(machine)


def test_a_tampered_configuration_is_rejected(source: PaperCluster) -> None:
    tampered = source.config().replace(b"src0", b"evil")
    assert config_failure(source, tampered) == (Step.CONFIGURATION, Code.CONFIG_SIGNATURE)


def test_an_unsigned_configuration_is_rejected_where_a_signed_one_is_due(source: PaperCluster) -> None:
    assert config_failure(source, source.xml()) == (Step.CONFIGURATION, Code.CONFIG_UNSIGNED)


@pytest.mark.parametrize("xml", [b"no xml", b"<other/>"])
def test_a_signed_file_that_is_no_configuration_is_rejected(source: PaperCluster, xml: bytes) -> None:
    assert config_failure(source, source.config(xml)) == (Step.CONFIGURATION, Code.CONFIG_MALFORMED)


def test_a_configuration_without_a_readable_header_is_rejected(source: PaperCluster) -> None:
    assert config_failure(source, b"\x01\x00\x02") == (Step.CONFIGURATION, Code.CONFIG_MALFORMED)


def test_a_sast_that_is_no_tftp_signs_no_configuration_until_tvs_says_so(source: PaperCluster) -> None:
    files = {**source.files(), CONFIG: source.config(signer=source.recovery)}
    accepted = PaperWorld(files, vouching(source.recovery, roles=(Role.TFTP,)))
    assert boot(source.flash(), accepted).flash.config_signed
    assert "TVS src0 CN=src-recovery" in accepted.told
    rejected = PaperWorld(files, vouching(source.recovery, roles=(Role.SAST,)))
    assert failure(boot(source.flash(), rejected)) == (Step.TVS, Code.TVS_ROLE)


def test_a_phone_whose_configuration_fails_after_its_lists_were_installed_keeps_the_old_configuration(
    source: PaperCluster, destination: PaperCluster
) -> None:
    files = {**destination.files(), CONFIG: source.xml()}
    machine = boot(source.flash(), PaperWorld(files, vouching(destination.callmanager)))
    assert failure(machine) == (Step.CONFIGURATION, Code.CONFIG_UNSIGNED)
    assert machine.flash == Flash(None, destination.itl(), source.xml(), config_signed=True)


def test_no_configuration_at_all_ends_the_boot(source: PaperCluster) -> None:
    world = PaperWorld({ITL: source.itl()})
    machine = boot(source.flash(), world)
    assert failure(machine) == (Step.CONFIGURATION, Code.CONFIG_MISSING)
    assert Status.CONFIG_NOT_FOUND in world.shown


# Registration


def test_the_next_callmanager_is_tried_when_one_refuses(source: PaperCluster) -> None:
    world = PaperWorld(source.files(), refusing=frozenset({"src0"}))
    machine = boot(source.flash(), world)
    assert world.told[-3:] == ["REGISTER src0:5060", "REGISTER src1:5060", "END registration phone.registered"]
    assert machine.outcome is not None
    assert machine.outcome.reason == "registered with src1:5060"


def test_when_every_callmanager_refuses_the_boot_fails_with_the_new_configuration_in_flash(
    source: PaperCluster, destination: PaperCluster
) -> None:
    world = PaperWorld(destination.files(), vouching(destination.callmanager), refusing=frozenset({"dst0", "dst1"}))
    machine = boot(source.flash(), world)
    assert failure(machine) == (Step.REGISTRATION, Code.REGISTRATION_FAILED)
    assert machine.flash.config == destination.xml()


def test_a_configuration_without_callmanagers_registers_nowhere(source: PaperCluster) -> None:
    files = {**source.files(), CONFIG: source.config(source.xml(callmanagers=0))}
    assert failure(boot(source.flash(), PaperWorld(files))) == (Step.REGISTRATION, Code.NO_CALL_CONTROL)


# Time


def test_an_answer_that_does_not_come_in_time_counts_as_a_failure(
    source: PaperCluster, destination: PaperCluster
) -> None:
    machine = BootMachine(DEVICE, source.flash(), limits=Limits(fetch=5, tvs=3, register=2))
    machine.start(10.0)
    assert machine.next_deadline() == 15.0
    assert machine.tick(14.9) == ()
    machine.receive(FileReceived(CTL, destination.ctl()), 11.0)
    assert machine.next_deadline() == 14.0
    [again] = machine.tick(14.0)
    assert isinstance(again, AskTvs)
    machine.tick(17.0)
    assert failure(machine) == (Step.TVS, Code.TVS_NO_ANSWER)
    assert machine.next_deadline() is None
    assert machine.tick(99.0) == ()


def test_a_file_and_a_registration_can_be_overdue_too(source: PaperCluster) -> None:
    silent = BootMachine(DEVICE, source.flash())
    silent.start(0.0)
    silent.tick(1000.0)
    assert failure(silent) == (Step.CTL, Code.FILE_SERVER_FAILED)
    files = source.files()
    machine = BootMachine(DEVICE, source.flash())
    machine.start(0.0)
    for name in (CTL, ITL, CONFIG):
        machine.receive(PaperWorld(files)._file(name), 0.0)
    machine.tick(1000.0)
    machine.tick(2000.0)
    assert failure(machine) == (Step.REGISTRATION, Code.REGISTRATION_FAILED)


def test_an_event_about_something_else_is_ignored(source: PaperCluster) -> None:
    machine = BootMachine(DEVICE, source.flash())
    machine.start(0.0)
    assert machine.receive(Registered(("src0", 5060)), 1.0) == ()
    assert machine.receive(FileReceived("other", b""), 1.0) == ()
    assert machine.next_deadline() == 60.0


# The journal


def test_the_journal_tells_who_signed_what_where_it_was_found_and_who_vouched(
    source: PaperCluster, destination: PaperCluster
) -> None:
    machine = boot(source.flash(), PaperWorld(destination.files(), vouching(destination.callmanager)))
    [looked_up, vouched] = [entry for entry in machine.journal if entry.file == ITL]
    assert (looked_up.step, looked_up.found) == (Step.ITL, "in no list")
    assert looked_up.signer == f"{destination.callmanager.subject} serial {destination.callmanager.serial_hex}"
    assert (vouched.step, vouched.found, vouched.roles) == (Step.TVS, "in TVS", (0, 3))
    assert vouched.member == "src0:2445"
    assert machine.journal[-1].member == "dst0:5060"
    assert [entry.at for entry in machine.journal] == sorted(entry.at for entry in machine.journal)


# Models and what the screen says


@pytest.mark.parametrize("model", ["6901", "CP-6911"])
@pytest.mark.parametrize("secure", [False, True])
def test_a_6901_asks_for_no_itl(source: PaperCluster, model: str, *, secure: bool) -> None:
    world = PaperWorld(source.files(secure=secure))
    machine = BootMachine(DEVICE, Flash(), model=model)
    world.boot(machine)
    assert not [line for line in world.told if line.startswith("GET ITL")]
    assert world.told[-1] == "END registration phone.registered"
    assert (machine.flash.itl, machine.flash.ctl is not None) == (None, secure)


def test_a_configuration_too_large_for_the_phone_is_shown_as_that(source: PaperCluster) -> None:
    world = PaperWorld(source.files() | {CONFIG: source.config() + b" " * (1 << 20)})
    assert failure(boot(source.flash(), world)) == (Step.CONFIGURATION, Code.CONFIG_MALFORMED)
    assert world.shown == [Status.CTL_NOT_FOUND, Status.CONFIG_SIZE]


def test_a_configuration_that_is_no_xml_is_not_shown_as_one_that_could_not_be_authenticated(
    source: PaperCluster,
) -> None:
    world = PaperWorld(source.files() | {CONFIG: source.config(b"<device")})
    assert failure(boot(source.flash(), world)) == (Step.CONFIGURATION, Code.CONFIG_MALFORMED)
    assert not [text for text in world.shown if "authenticated fail" in text]


@pytest.mark.parametrize("shown", [Status.TFTP_TIMEOUT, Status.TFTP_ACCESS, Status.TFTP_ERROR])
def test_the_screen_says_how_the_file_server_failed(source: PaperCluster, shown: Status) -> None:
    machine = BootMachine(DEVICE, source.flash())
    machine.start(0.0)
    actions = machine.receive(FetchFailed(CTL, "refused", shown), 1.0)
    assert ShowStatus(str(shown)) in actions


@pytest.mark.parametrize(("version", "told"), [(None, False), ((1, 0), False), ((1, 1), True)])
def test_a_list_of_a_cluster_with_advanced_algorithms_tells_that_https_was_not_tried(
    source: PaperCluster, version: tuple[int, int] | None, *, told: bool
) -> None:
    signed = build_trust_list(
        "ITL",
        TrustList.parse(source.itl()).records,
        source.callmanager,
        source.key,
        timestamp=1,
        signer_version=version,
    )
    machine = boot(Flash(), PaperWorld(source.files() | {ITL: signed}))
    assert any("HTTPS 6971" in entry.text for entry in machine.journal) is told
