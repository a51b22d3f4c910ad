"""English and Japanese: complete in both, the same blanks to fill in, and nothing that rooms below say is left out."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

import certferry.web
from certferry.cluster.accounts import Role
from certferry.cluster.list_status import ListStatus
from certferry.cluster.migrations import PhoneState, State
from certferry.cluster.parameters import PARAMETERS
from certferry.cluster.resets import ResetOutcome
from certferry.cluster.sightings import Step
from certferry.cluster.signing_requests import RequestUnknownError
from certferry.cluster.values import NodeRole, SecurityMode
from certferry.cluster.web_jobs import JobState
from certferry.trust.consequences import consequences
from certferry.trust.purpose import BulkType, Purpose
from certferry.trust.store_rules import HeldCertificate, decide
from certferry.web.jobs import STEPS
from certferry.web.pages.language import Words, table
from certferry.web.pages.sentences import Told, tell
from certferry.web.refusals import _STATUS
from certferry.web.wave_views import LOGGED
from conftest import MakeCertificate

WEB = Path(certferry.web.__file__).parent
BLANK = re.compile(r"\{(\w+)\}")
KEY = re.compile(r"""\bt\(\s*["']([a-z][a-z0-9-]*\.[a-z0-9.-]+)["']\s*[,)]""")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def test_both_languages_have_the_same_keys_in_the_same_order() -> None:
    assert list(table("en")) == list(table("ja"))


@pytest.mark.parametrize("key", list(table("en")))
def test_both_languages_leave_the_same_blanks(key: str) -> None:
    assert set(BLANK.findall(table("en")[key])) == set(BLANK.findall(table("ja")[key]))
    assert table("ja")[key].strip()


def test_a_sentence_in_japanese_is_japanese() -> None:
    """Names such as TFTP stand as they are; whatever has an English sentence's length does not."""
    left = [key for key, text in table("ja").items() if len(table("en")[key]) > 20 and not JAPANESE.search(text)]
    assert left == []


def test_every_key_a_template_names_has_words() -> None:
    named = {key for file in (WEB / "templates").glob("*.html") for key in KEY.findall(file.read_text())}
    assert len(named) > 150
    assert named <= table("en").keys()


def made_up() -> Iterator[str]:
    """Keys that templates put together from what something is called."""
    yield from (f"role.{role}" for role in Role)
    yield from (f"job-step.{step}" for step in STEPS)
    yield from (f"mode.{mode}" for mode in SecurityMode)
    yield from (f"node-role.{role}" for role in NodeRole)
    yield from (f"type.{kind}" for kind in ("all", *BulkType))
    yield from (f"parameter.{key}" for key in PARAMETERS)
    yield from (f"parameter-about.{key}" for key in PARAMETERS)
    yield from (f"verdict.{verdict}" for verdict in ("pass", "warn", "fail", "unknown"))
    kinds = ("export", "consolidate", "plan", "import", "verify", "rehearse", "test", "migrate", "reset")
    yield from (f"job.{kind}" for kind in kinds)
    yield from (f"reset-outcome.{outcome}" for outcome in ("in-doubt", *ResetOutcome))
    yield from (f"reset-state.{state}" for state in JobState)
    yield from (f"list-status.{status.replace(' ', '-')}" for status in ListStatus)
    yield from (f"wave-state.{state}" for state in State)
    yield from (f"waves.now-{state}" for state in State)
    yield from (f"wave-phone.{state}" for state in PhoneState)
    yield from (f"wave-event.{kind}" for kind in LOGGED)
    yield from (f"seen.{step}" for step in Step)
    for button in ("export", "consolidate", "import"):
        yield from (f"bulk.{part}{button}" for part in ("", "short-", "dialog-", "about-", "do-"))
    steps = (
        "phones",
        "rollback",
        "settings",
        "export",
        "consolidate",
        "import",
        "served",
        "verify",
        "option150",
        "reset",
    )
    for step in steps:
        yield from (f"step.{step}", f"step-about.{step}", f"step-about.{step}-open")
    yield from (f"state.{state}" for state in ("done", "next", "waiting", "by-hand", "unknown"))
    yield from (f"plan.{action}" for action in ("add", "replace", "skip", "refuse"))
    yield from (f"check.list.{check}" for check in ("signature", "signer", "size", "validity", "rollback"))


@pytest.mark.parametrize("key", list(made_up()))
def test_what_templates_put_together_has_words(key: str) -> None:
    assert Words("ja").has(key)


def test_a_key_without_words_is_an_error() -> None:
    with pytest.raises(KeyError):
        Words("en")("menu.nowhere")


def test_every_consequence_is_told_in_japanese() -> None:
    for purpose, yes, secure, signs in product(Purpose, (True, False), (True, False), (True, False)):
        follows = consequences(
            purpose, tftp_on_node=yes, secure=secure, signs_lists=signs, lists=("CTL",), groups=("Default",) * yes
        )
        for sentence in (follows.phones, *follows.warnings):
            assert JAPANESE.search(tell(sentence, "ja")), sentence
            assert tell(sentence, "en") == sentence


def test_every_reason_of_a_plan_is_told_in_japanese(make_certificate: MakeCertificate) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    old, new = (make_certificate(not_before=now - timedelta(days=days)) for days in (100, 50))
    gone = make_certificate(not_before=now - timedelta(days=900), not_after=now - timedelta(days=1))
    wild = make_certificate(subject="CN=*.example.net")
    early = make_certificate(not_before=now + timedelta(days=3))
    decisions = [
        decide(new, (), "b", now),
        decide(new, [HeldCertificate(new, "")], "b", now),
        decide(new, [HeldCertificate(new, "b")], "b", now),
        decide(old, [HeldCertificate(new, "b")], "b", now),
        decide(new, [HeldCertificate(old, "b")], "b", now),
        decide(new, [HeldCertificate(old, "")], "b", now),
        decide(new, [HeldCertificate(old, "c")], "b", now),
        decide(gone, (), "b", now),
        decide(wild, (), "b", now),
        decide(early, (), "b", now),
    ]
    for decision in decisions:
        for sentence in (decision.reason, *decision.warnings):
            assert JAPANESE.search(tell(sentence, "ja")), sentence


def test_a_refusal_keeps_its_code_and_says_what_to_do_on_these_pages() -> None:
    refusal = RequestUnknownError("no CSR of tomcat waits for node src-pub")
    told = Told.of(refusal, "ja")
    assert told.code == "cert.request-unknown"
    assert JAPANESE.search(told.sentence)
    assert "src-pub" in told.sentence
    assert "certferry cert csr" not in told.remedy
    assert Told.of(refusal, "en").remedy == refusal.remedy


def test_a_sentence_nobody_translated_is_told_as_it_is() -> None:
    assert tell("the moon is in the way", "ja") == "the moon is in the way"


def test_the_remedies_of_what_pages_meet_are_told_in_japanese() -> None:
    only_programs = {"web.login", "web.token-refused", "web.too-many-logins", "web.token-unknown", "web.list-unknown"}
    only_elsewhere = {
        "cluster.certificate-ambiguous",
        "cluster.parameter-unknown",
        "cluster.phone-unknown",
        "cluster.database",
    }
    untold = [code for code in _STATUS if not JAPANESE.search(Told.of(RequestUnknownError("x"), "ja", code).remedy)]
    assert set(untold) <= only_programs | only_elsewhere
