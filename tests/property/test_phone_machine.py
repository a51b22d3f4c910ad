"""Whatever happens to a phone, in whatever order: it never stumbles, and it never holds half of something."""

from dataclasses import replace
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from certferry.phone.boot import BootMachine
from certferry.phone.events import (
    AskTvs,
    Event,
    Fetch,
    FetchFailed,
    FileMissing,
    FileReceived,
    Question,
    Register,
    Registered,
    RegistrationFailed,
    TvsAnswered,
    TvsFailed,
)
from certferry.phone.flash import Flash
from certferry.phone.identity import Own, PhoneIdentity, no_identity
from certferry.phone.outcome import Code
from certferry.wire.certificate import Certificate
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.tvs import CertificateQueryReply, Status
from conftest import MakeCertificate
from phone_clusters import DEVICE, PaperCluster, PaperWorld, vouching

EVENTS = 30
DEFAULT = "XMLDefault.cnf.xml"
NAMES = [f"CTL{DEVICE}.tlv", f"ITL{DEVICE}.tlv", "ITLFile.tlv", f"{DEVICE}.cnf.xml.sgn", f"{DEVICE}.cnf.xml"]
SERVED = [*NAMES, f"{DEVICE}.cnf.xml.enc.sgn", DEFAULT, f"{DEFAULT}.sgn"]


@pytest.fixture(scope="module")
def clusters(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> tuple[PaperCluster, PaperCluster]:
    return PaperCluster.of("src", rsa_key, make_certificate), PaperCluster.of("dst", other_rsa_key, make_certificate)


@pytest.fixture(scope="module")
def contents(clusters: tuple[PaperCluster, PaperCluster], lsc: Certificate) -> list[bytes]:
    found = [b"", b"\x01", b"<device/>", b"\x01" * 70_000]
    for cluster in clusters:
        found += [cluster.ctl(), cluster.itl(), cluster.itl(cluster.recovery), cluster.rollback_itl()]
        found += [cluster.emptied_ctl(), cluster.config(), cluster.xml(), cluster.xml(secure=True)]
        found += [cluster.itl()[:-1], cluster.config() + b" ", cluster.default(), cluster.default_xml()]
        found += [cluster.short_config(lsc), cluster.short_config(None), cluster.encrypted_config(lsc)]
        found += [PhoneConfig(DEVICE, (), encrypted=True, full=False).encode()]
    return found


@pytest.fixture(scope="module")
def lsc(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> Certificate:
    """The certificate of the phone."""
    return make_certificate(f"CN={DEVICE}", key=rsa_key)


@pytest.fixture(scope="module")
def owns(lsc: Certificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> list[Own]:
    """Phones with their key, with a wrong one, with none, and without a certificate."""
    identities = [PhoneIdentity(lsc, key) for key in (rsa_key, other_rsa_key, None)]
    return [no_identity, *(partial(_itself, identity) for identity in identities)]


def _itself(identity: PhoneIdentity) -> PhoneIdentity:
    return identity


def flashes(clusters: tuple[PaperCluster, PaperCluster]) -> list[Flash]:
    source = clusters[0]
    rolled_back = Flash(None, source.rollback_itl(), source.xml())
    encrypted = replace(PhoneConfig.parse(source.xml()), encrypted=True).encode()
    half = [Flash(source.ctl(), None, source.xml()), Flash(source.emptied_ctl(), source.itl(), encrypted)]
    return [Flash(), source.flash(), source.flash(secure=True), rolled_back, *half]


def certificates(clusters: tuple[PaperCluster, PaperCluster]) -> list[Certificate]:
    return [one for cluster in clusters for one in (cluster.callmanager, cluster.recovery, cluster.tvs)]


STRANGE: list[Question] = [Fetch(NAMES[0]), Register(("dst0", 5060), secure=False), Fetch("whatever")]


def events_for(question: Question, contents: list[bytes], tvs: list[Certificate]) -> st.SearchStrategy[Event]:
    match question:
        case Fetch(name):
            received = st.builds(FileReceived, st.just(name), st.sampled_from(contents) | st.binary(max_size=40))
            return st.one_of(received, st.just(FileMissing(name)), st.just(FetchFailed(name, "drawn")))
        case AskTvs(member):
            der = st.sampled_from([None, b"\x30", *(one.der for one in tvs)])
            roles = st.just((0, 3)) | st.lists(st.integers(0, 255), max_size=3).map(tuple)
            reply = st.builds(CertificateQueryReply, st.just(1), st.sampled_from(Status), der, roles)
            failed = st.builds(TvsFailed, st.just(member), st.sampled_from(Code), st.just("drawn"))
            return st.one_of(st.builds(TvsAnswered, st.just(member), reply), failed)
        case Register(server):
            return st.sampled_from([Registered(server), RegistrationFailed(server, "drawn")])


def drawn_event(draw: st.DataObject, question: Question | None, contents: list[bytes], tvs: list[Certificate]) -> Event:
    """Draw an answer to the open question, or, one time in a few, an event about something else."""
    if question is None or draw.draw(st.integers(0, 5)) == 0:
        question = draw.draw(st.sampled_from(STRANGE))
    return draw.draw(events_for(question, contents, tvs))


@given(draw=st.data())
@settings(deadline=None, max_examples=200)
def test_no_sequence_of_events_makes_a_phone_stumble_or_hold_half_of_something(
    clusters: tuple[PaperCluster, PaperCluster], contents: list[bytes], owns: list[Own], draw: st.DataObject
) -> None:
    before = draw.draw(st.sampled_from(flashes(clusters)))
    own, model = draw.draw(st.sampled_from(owns)), draw.draw(st.sampled_from(["8861", "6901"]))
    machine = BootMachine(DEVICE, before, model=model, own=own)
    machine.start(0.0)
    now, steps = 0.0, [before]
    for _ in range(EVENTS):
        now += draw.draw(st.floats(0, 5))
        event = drawn_event(draw, machine._waiting, contents, certificates(clusters))
        machine.receive(event, now)
        machine.tick(now)
        if machine.flash != steps[-1]:
            steps.append(machine.flash)
        assert (machine._waiting is None) == (machine.outcome is not None)
        assert (machine.next_deadline() is None) == (machine.outcome is not None)
    assert_whole(before, steps)


def assert_whole(before: Flash, steps: list[Flash]) -> None:
    """Lists change once and together, before the configuration; each is a file that some server sent whole."""
    assert len(steps) <= 3
    lists = [(flash.ctl, flash.itl) for flash in steps]
    configs = [flash.config for flash in steps]
    assert len(dict.fromkeys(lists)) <= 2
    assert configs[:-1] == [before.config] * (len(steps) - 1)


@given(draw=st.data())
@settings(deadline=None, max_examples=100)
def test_a_boot_that_fails_at_a_list_or_at_tvs_for_one_leaves_the_flash_as_it_was(
    clusters: tuple[PaperCluster, PaperCluster], draw: st.DataObject
) -> None:
    source, destination = clusters
    secure = draw.draw(st.booleans())
    files = destination.files(secure=secure)
    broken = draw.draw(st.sampled_from([name for name in files if name.endswith(".tlv")]))
    cut = draw.draw(st.integers(0, len(files[broken]) - 1))
    damaged = files[broken][:cut] + draw.draw(st.binary(max_size=8))
    assume(damaged != files[broken])
    files[broken] = damaged
    machine = BootMachine(DEVICE, source.flash(secure=secure))
    PaperWorld(files, vouching(destination.callmanager)).boot(machine)
    assert machine.outcome is not None
    assert not machine.outcome.ok
    assert machine.flash == source.flash(secure=secure)


@given(draw=st.data())
@settings(deadline=None, max_examples=200)
def test_whatever_files_there_are_a_boot_comes_to_its_end_within_a_few_questions(
    clusters: tuple[PaperCluster, PaperCluster], contents: list[bytes], owns: list[Own], draw: st.DataObject
) -> None:
    drawn = {name: draw.draw(st.none() | st.sampled_from(contents)) for name in SERVED}
    files = {name: data for name, data in drawn.items() if data is not None}
    before, own = draw.draw(st.sampled_from(flashes(clusters))), draw.draw(st.sampled_from(owns))
    world = PaperWorld(files, vouching(*certificates(clusters)), refusing=frozenset({"src0", "dst1"}))
    machine = BootMachine(DEVICE, before, own=own)
    world.boot(machine)
    assert machine.outcome is not None
    asked = [action for action in world.done if isinstance(action, Fetch)]
    # An encrypted configuration may be asked for twice: as what the phone had, and as what a short one announces.
    assert len(asked) <= len(set(asked)) + 1 <= len(SERVED) + 1


@given(position=st.integers(0), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=200)
def test_no_flipped_bit_gets_an_encrypted_configuration_past_the_phone(
    clusters: tuple[PaperCluster, PaperCluster], lsc: Certificate, owns: list[Own], position: int, bit: int
) -> None:
    source = clusters[0]
    data = bytearray(source.encrypted_config(lsc))
    data[position % len(data)] ^= 1 << bit
    files = {f"{DEVICE}.cnf.xml.sgn": source.short_config(lsc), f"{DEVICE}.cnf.xml.enc.sgn": bytes(data)}
    machine = BootMachine(DEVICE, source.flash(), own=owns[1])
    PaperWorld({**source.files(), **files}, vouching()).boot(machine)
    assert machine.outcome is not None
    assert not machine.outcome.ok
    assert machine.flash == source.flash()


@given(position=st.integers(0), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=200)
def test_no_flipped_bit_gets_a_configuration_past_the_phone(
    clusters: tuple[PaperCluster, PaperCluster], position: int, bit: int
) -> None:
    source, name = clusters[0], f"{DEVICE}.cnf.xml.sgn"
    data = bytearray(source.config())
    data[position % len(data)] ^= 1 << bit
    machine = BootMachine(DEVICE, source.flash())
    PaperWorld({**source.files(), name: bytes(data)}, vouching()).boot(machine)
    assert machine.outcome is not None
    assert not machine.outcome.ok
    assert machine.flash == source.flash()
