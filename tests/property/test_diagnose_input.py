"""Whatever is pasted, a diagnosis comes back: no exception, no flood, nothing made up, and the same every time."""

import json
import string

from hypothesis import given
from hypothesis import strategies as st

from certferry.migrate.causes import find_cause
from certferry.migrate.diagnose import LONGEST_LINE, diagnose, diagnose_lines
from certferry.migrate.result import PhoneResult, Verification
from certferry.migrate.signs import LONGEST_EVIDENCE, RANK, signs
from certferry.phone.outcome import Code
from certferry.phone.status import Status

words = st.sampled_from([
    *(sign.says for sign in signs()),
    *(status.value for status in Status),
    "Unique MAP ID : 24AACN=x", "Found entry {rolecount : 2}", "{role : 0}", "TVS_EV_QUERY_CERT_REQ",
    "Accepted TCP connection", "TLS HS Done", "Cannot find the certificate", "Sending QUERY_CERT_RES msg",
    "[src=ITLFile.tlv]", "XXTP complete - status = 2", "SEP001122334455", "[8:52:30am 10/01/19]", "<status>", "</x>",
    "tvs.role", "(bulk.login)", "{", "[", "\ufeff", "\x00",
])  # fmt: skip
lines = st.lists(st.lists(words | st.text(max_size=20), max_size=4).map(" ".join), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["fail", "warn", "tvs.role", "would-fail"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["verdict", "id", "title", "outcome", "code", "device", "tvs.role"]), inner)
    ),
    max_leaves=20,
)


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    diagnose(text)


@given(lines)
def test_any_mixture_of_known_words_is_answered_in_bounds(mixture: list[str]) -> None:
    found = diagnose("\n".join(mixture))
    assert len({each.code for each in found}) == len(found)
    for each in found:
        assert find_cause(each.code)
        assert 0 < len(each.evidence) <= 6
        assert all(len(line) <= LONGEST_EVIDENCE for line in each.evidence)
        assert json.dumps(each.to_json("ja"))


@given(lines)
def test_findings_are_sorted_by_certainty(mixture: list[str]) -> None:
    ranks = [RANK[each.certainty] for each in diagnose_lines(mixture)]
    assert ranks == sorted(ranks)


@given(lines)
def test_the_same_text_gets_the_same_answer(mixture: list[str]) -> None:
    assert diagnose_lines(mixture) == diagnose_lines(mixture)


@given(lines, st.text(alphabet=string.ascii_letters + " ", max_size=60))
def test_lines_that_say_nothing_change_nothing(mixture: list[str], noise: str) -> None:
    if diagnose_lines([noise]):
        return
    assert diagnose_lines([noise, *mixture, noise]) == diagnose_lines(mixture)


@given(json_values)
def test_any_json_is_answered(value: object) -> None:
    for each in diagnose(json.dumps([value])):
        assert each.to_json()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(Code))), max_size=20))
def test_every_code_of_a_record_is_found(ended: list[tuple[int, Code]]) -> None:
    phones = [PhoneResult(f"SEP{number:012X}", "would-fail", "tvs", code, "why").to_json() for number, code in ended]
    assert {each.code for each in diagnose(json.dumps({"phones": phones}))} == {code.value for _, code in ended}


@given(st.integers(0, 200))
def test_a_record_cut_off_anywhere_is_answered(at: int) -> None:
    text = json.dumps({"phones": [PhoneResult("SEP001122334455", "would-fail", "tvs", "tvs.role", "why").to_json()]})
    diagnose(text[:at])


def test_a_line_without_end_is_looked_at_as_far_as_a_line_may_go() -> None:
    assert diagnose("x" * (LONGEST_LINE + 10) + "TFTP timeout") == ()
    assert diagnose("TFTP timeout" + "x" * (8 * LONGEST_LINE))[0].code == "tftp.failed"


def test_the_value_of_verification_is_what_a_record_is() -> None:
    assert {"checks", "phones"} <= set(Verification.__slots__)
