"""From what a phone shows to the cause: every model's form, vague and exact messages, messages that healed."""

import pytest

from certferry.migrate.diagnose import Diagnosis, Hints, diagnose
from certferry.migrate.signs import Certainty
from certferry.phone.outcome import Code
from certferry.phone.status import Status, loaded_text, rejected_text

CERTAIN, LIKELY, POSSIBLE = Certainty
FAILED, VERIFICATION = Status.TRUST_LIST_UPDATE_FAILED.value, Status.VERIFICATION_FAILURE.value


def told(text: str) -> dict[str, Certainty]:
    return {found.code: found.certainty for found in diagnose(text)}


def find(text: str, code: str) -> Diagnosis:
    return next(found for found in diagnose(text) if found.code == code)


@pytest.mark.parametrize(
    ("message", "code", "certainty"),
    [
        (Status.ITL_INSTALLED, "list.updated", CERTAIN),
        (Status.TRUST_LIST_UPDATED, "list.updated", CERTAIN),
        (Status.TRUST_LIST_UPDATE_FAILED, "tvs.invalid", LIKELY),
        (Status.VERIFICATION_FAILURE, "tvs.invalid", LIKELY),
        (Status.NO_TRUST_LIST, "list.none", CERTAIN),
        (Status.ERASING, "phone.erase-or-continue", LIKELY),
        (Status.CTL_NOT_FOUND, "file.ctl-not-found", LIKELY),
        (Status.CONFIG_NOT_FOUND, "configuration.missing", CERTAIN),
        (Status.CONFIG_SIZE, "configuration.malformed", CERTAIN),
        (Status.TFTP_TIMEOUT, "tftp.failed", CERTAIN),
        (Status.TFTP_ACCESS, "tftp.error", CERTAIN),
        (Status.TFTP_ERROR, "tftp.error", LIKELY),
        (Status.TFTP_NOT_FOUND, "file.firmware-missing", LIKELY),
        (Status.TFTP_NOT_AUTHORIZED, "tftp.not-authorized", CERTAIN),
    ],
)
def test_each_status_message_is_known(message: Status, code: str, certainty: Certainty) -> None:
    first = diagnose(message)[0]
    assert (first.code, first.certainty) == (code, certainty)


@pytest.mark.parametrize("name", ["XMLDefault.cnf.xml.sgn", "XMLDefault.cnf.xml"])
@pytest.mark.parametrize("transport", ["TFTP", "HTTP"])
def test_the_default_configuration_tells_that_the_cluster_does_not_know_the_phone(name: str, transport: str) -> None:
    first = diagnose(f"[8:52:30am 10/01/19] {loaded_text(name, transport)}")[0]
    assert (first.code, first.certainty) == ("registration.unknown-device", LIKELY)


def test_every_status_message_a_phone_of_ours_shows_is_known() -> None:
    assert [message for message in Status if not diagnose(message)] == []


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "[8:52:30am 10/01/19] {}",
        "1:33:26a {}",
        "<DeviceLog><status>8:52:30am 10/01/19 {}</status></DeviceLog>",
        '<?xml version="1.0"?>\r\n<DeviceLog>\r\n<status type="x">{}</status>\r\n</DeviceLog>\r\n',
        "   {}   \r\n\r\n",
        "\ufeff{}",
    ],
)
@pytest.mark.parametrize("message", [FAILED, Status.CTL_NOT_FOUND.value, Status.CONFIG_NOT_FOUND.value])
def test_a_message_is_known_in_the_form_of_every_model(form: str, message: str) -> None:
    assert told(form.format(message)) == told(message)


def test_a_web_page_with_escaped_words_is_read() -> None:
    assert told("<td>File Not Found &lt;CTLFile.tlv&gt;</td>") == told(Status.CTL_NOT_FOUND)


def test_capital_letters_do_not_matter() -> None:
    assert told("TRUST LIST UPDATE FAILED") == told(FAILED)


def test_a_vague_message_names_several_causes_the_surest_first() -> None:
    found = diagnose(FAILED)
    assert [each.certainty for each in found] == [LIKELY, POSSIBLE, POSSIBLE, POSSIBLE]
    assert {each.code for each in found} == {"tvs.invalid", "tvs.unreachable", "tftp.failed", "list.malformed"}


def test_a_verification_failure_means_that_the_list_did_arrive() -> None:
    codes = told(f"{FAILED}\n{VERIFICATION}")
    assert "tftp.failed" not in codes
    assert "list.malformed" not in codes


def test_a_rejected_configuration_is_told_from_a_rejected_common_file() -> None:
    shown = "invalid file {}, authenticated fail. Reason:14"
    assert shown.format("a.xml") == rejected_text("a.xml", Code.CONFIG_SIGNATURE)
    assert told(shown.format("SEP001122334455.cnf.xml.sgn")) == {"configuration.signature": CERTAIN}
    assert told(shown.format("Ringlist-wb.xml.sgn"))["proxy.signature"] is LIKELY


def test_independent_findings_are_all_told() -> None:
    codes = told(f"{Status.TFTP_NOT_AUTHORIZED}\nPhone failed to register. Cert key size is not FIPS compliant")
    assert codes == {"tftp.not-authorized": CERTAIN, "registration.key-size-fips": CERTAIN}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_order_and_the_line_ends_do_not_matter(newline: str) -> None:
    lines = [FAILED, VERIFICATION, Status.CTL_NOT_FOUND]
    assert told(newline.join(lines)) == told(newline.join(reversed(lines)))


def test_a_failure_before_a_success_counts_less() -> None:
    healed = f"[9:00:00am 10/02/19] Trust List Updated\n[8:52:30am 10/01/19] {FAILED}"
    assert told(healed)["list.updated"] is CERTAIN
    assert set(told(healed).values()) == {CERTAIN, POSSIBLE}


def test_a_failure_after_a_success_counts_in_full() -> None:
    again = f"[9:00:00am 10/01/19] Trust List Updated\n[8:52:30pm 10/01/19] {FAILED}"
    assert told(again)["tvs.invalid"] is LIKELY


def test_a_time_that_is_none_is_ignored() -> None:
    assert told(f"[99:00:00am 10/32/19] {FAILED}") == told(FAILED)


def test_evidence_is_the_line_itself() -> None:
    line = "[8:52:30am 10/01/19] TFTP timeout"
    assert find(f"noise\n{line}\nnoise", "tftp.failed").evidence == (line,)


def test_many_equal_lines_are_counted_not_repeated() -> None:
    evidence = find("\n".join(f"[8:52:{n:02}am 10/01/19] TFTP timeout" for n in range(40)), "tftp.failed").evidence
    assert len(evidence) == 6
    assert evidence[-1] == "(40 such lines)"


def test_the_fix_is_filled_with_the_names_that_are_known() -> None:
    text = "SEP001122334455: File not found <Cfg File>"
    assert "certferry phone add SEP001122334455" in diagnose(text)[0].fix()
    assert "tftp://192.0.2.9/ITLFile.tlv" in diagnose("TFTP timeout", Hints(destination="192.0.2.9"))[0].settle()
    assert "{" not in diagnose("TFTP timeout")[0].settle()


def test_the_answer_is_given_in_japanese_too() -> None:
    english, japanese = (diagnose(FAILED)[0].to_json(language) for language in ("en", "ja"))
    assert english["code"] == japanese["code"]
    assert "移行元" in japanese["fix"]
    assert english["fix"].isascii()


@pytest.mark.parametrize("text", ["", "\n\n", "hello", "the list was updated by me", "\x00\xff\x07", "{", "[]", "{}"])
def test_nothing_is_made_of_a_text_that_says_nothing(text: str) -> None:
    assert diagnose(text) == ()
