"""The report: its verdict, its matrix, its chain, its safety; and that nothing is lost or asked from outside."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from certferry.migrate.causes import Language
from certferry.migrate.chain_picture import SIGNS, chain_links, draw_chain
from certferry.migrate.matrix import build_matrix, worst
from certferry.migrate.report import LISTED_PHONES, render_html
from certferry.migrate.result import PhoneResult, Verification
from certferry.trust.list_check import Check, Verdict

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&</style>"


def phone(outcome: str = "would-migrate", device: str = "SEP001122334455") -> PhoneResult:
    code = {"would-migrate": "phone.registered", "would-fail": "tvs.invalid"}.get(outcome, "configuration.missing")
    return PhoneResult(device, outcome, "tvs", code, "because")  # type: ignore[arg-type]


def check(verdict: Verdict, identifier: str = "option150", title: str = "Option 150", remedy: str = "") -> Check:
    return Check(identifier, title, verdict, "seen", remedy or ("" if verdict == "pass" else "Do something."))


def made(*parts: Check | PhoneResult) -> Verification:
    checks = tuple(part for part in parts if isinstance(part, Check))
    phones = tuple(part for part in parts if isinstance(part, PhoneResult))
    return Verification.of(checks, phones, source="192.0.2.1", destination="198.51.100.1", at=AT)


def grid(verdict: Verdict = "pass", nodes: int = 3, signers: int = 2) -> list[Check]:
    return [
        check(verdict, "tvs.vouches", f"TVS 192.0.2.{node}:2445 vouches for dst{signer}.example.com")
        for node in range(nodes)
        for signer in range(signers)
    ]


def verdict_of(page: str) -> str:
    found = re.search(r'<p class="verdict (\w+)">', page)
    assert found
    return found[1]


# The verdict


@pytest.mark.parametrize(
    ("parts", "tone", "sentence"),
    [
        ([check("pass"), phone()], "pass", "all 1 rehearsed phones would migrate"),
        ([check("pass")], "pass", "nothing fails in 1 checks"),
        ([check("warn")], "pass", "Phones can be moved"),
        ([check("unknown")], "unknown", "could not be told"),
        ([check("pass"), phone("unknown")], "unknown", "1 phones could not be told"),
        ([check("fail")], "fail", "1 of 1 checks fail"),
        ([check("fail"), phone("would-fail")], "fail", "1 of 1 rehearsed phones would stay behind"),
        ([check("unknown"), check("fail")], "fail", "Do not move phones yet"),
    ],
)
def test_the_verdict_stands_on_top_in_one_sentence(parts: list[Check | PhoneResult], tone: str, sentence: str) -> None:
    page = render_html(made(*parts))
    assert verdict_of(page) == tone
    assert sentence in page.split("</header>", maxsplit=1)[0]


def test_counts_lead_to_the_checks_of_one_verdict() -> None:
    page = render_html(made(check("pass"), check("warn"), check("fail"), check("unknown")))
    for verdict in SIGNS:
        assert f'href="#only-{verdict}"' in page
        assert f'id="only-{verdict}"' in page
        assert f"#only-{verdict}:target ~ .item:not(.{verdict})" in page


# The matrix


def test_every_tvs_stands_against_every_signer() -> None:
    matrix = build_matrix("tvs", grid(nodes=21, signers=22))
    assert matrix
    assert (len(matrix.rows), len(matrix.columns)) == (21, 22)
    assert matrix.verdict("192.0.2.7:2445", "dst3.example.com") == "pass"


def test_a_cell_shows_its_worst_check() -> None:
    title = "TVS 192.0.2.0:2445 gives dst0.example.com the role that phones need"
    matrix = build_matrix("tvs", [*grid(), check("fail", "tvs.roles", title)])
    assert matrix
    assert matrix.verdict("192.0.2.0:2445", "dst0.example.com") == "fail"
    assert matrix.verdict("192.0.2.0:2445", "dst1.example.com") == "pass"


def test_a_cell_that_was_not_looked_at_is_empty_not_passed() -> None:
    matrix = build_matrix("tvs", [*grid(), check("pass", "tvs.reachable", "TVS 192.0.2.99:2445 answers")])
    assert matrix
    assert matrix.verdict("192.0.2.99:2445", "dst0.example.com") is None
    assert 'class="none"' in render_html(made(*grid(), check("pass", "tvs.reachable", "TVS 192.0.2.99:2445 answers")))


def test_tftp_nodes_of_both_sides_have_a_row_each() -> None:
    matrix = build_matrix(
        "nodes",
        [
            check("pass", "tftp.reachable", "source 192.0.2.1: TFTP answers"),
            check("fail", "list.size", "destination 198.51.100.1:6969 ITL: A phone can load it"),
            check("pass", "itl.present", "destination http://198.51.100.2:6970: it serves an ITL"),
            check(
                "warn", "configuration.signature", "destination 198.51.100.1:6969: the configuration of SEP0 verifies"
            ),
            check("fail", "tvs.agree", "All TVS nodes of the source give the same answers"),
        ],
    )
    assert matrix
    assert matrix.rows == ("source 192.0.2.1", "destination 198.51.100.1:6969", "destination http://198.51.100.2:6970")
    assert matrix.columns == ("TFTP answers", "ITL", "it serves an ITL", "configuration")


def test_there_is_no_matrix_without_its_checks() -> None:
    assert build_matrix("tvs", [check("pass")]) is None
    assert "<table" not in render_html(made(check("pass")))


def test_colour_is_never_the_only_sign() -> None:
    page = render_html(made(*grid("fail")))
    cells = re.findall(r'<td class="cell (\w+)"><a [^>]*aria-label="(\w+):[^"]*">(.)</a>', page)
    assert len(cells) == 6
    assert set(cells) == {("fail", "fail", "✗")}


def test_a_cell_leads_to_its_evidence() -> None:
    page = render_html(made(*grid("fail"), check("warn")))
    targets = set(re.findall(r'href="#(e\d+)"', page))
    assert targets
    assert targets <= set(re.findall(r'<article class="item \w+" id="(e\d+)"', page))


def test_unknown_weighs_more_than_a_warning_and_nothing_is_unknown() -> None:
    assert worst(["pass", "warn", "unknown"]) == "unknown"
    assert worst(["unknown", "fail"]) == "fail"
    assert worst([]) == "unknown"


# The chain


def test_the_chain_goes_from_the_phone_to_the_new_list() -> None:
    names = [link.name for link in chain_links(made(), "en")]
    assert names == [
        "Phone",
        "ITL / CTL it holds",
        "Source TVS",
        "Phone-SAST-trust",
        "Signer",
        "New list, configuration",
    ]


@pytest.mark.parametrize(
    ("identifier", "title", "broken"),
    [
        ("source.itl", "Phones of the source hold a valid ITL", 1),
        ("list.size", "source 192.0.2.1 ITL: A phone can load it", 1),
        ("tvs.reachable", "TVS 192.0.2.1:2445 answers", 2),
        ("tvs.vouches", "TVS 192.0.2.1:2445 vouches for dst", 3),
        ("list.signature", "destination 192.0.2.1 ITL: The signature holds", 4),
        ("itl.present", "destination 192.0.2.1: it serves an ITL", 5),
    ],
)
def test_the_link_that_breaks_is_the_one_that_is_shown(identifier: str, title: str, broken: int) -> None:
    links = chain_links(made(check("fail", identifier, title)), "en")
    assert [number for number, link in enumerate(links) if link.verdict == "fail"] == [broken]


def test_a_link_nobody_looked_at_is_unknown() -> None:
    assert {link.verdict for link in chain_links(made(), "en")} == {"unknown"}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_picture_is_well_formed_and_stays_inside_its_frame(language: Language) -> None:
    picture = ET.fromstring(draw_chain(chain_links(made(check("fail"), phone()), language), HOSTILE))
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for box in picture.iter("rect"):
        assert 0 <= float(box.attrib["x"]) <= width - float(box.attrib["width"])
        assert 0 <= float(box.attrib["y"]) <= height - float(box.attrib["height"])
    assert len(list(picture.iter("rect"))) == 6


def test_a_long_name_is_squeezed_into_its_box() -> None:
    link = replace(chain_links(made(), "en")[0], name="x" * 80)
    assert 'textLength="216"' in draw_chain((link,), "label")


# Evidence, remedies, phones


def test_no_evidence_is_lost() -> None:
    checks = [
        Check("x.y", f"title {n}", "fail" if n % 2 else "pass", f"evidence {n}", f"remedy {n % 7}") for n in range(99)
    ]
    page = render_html(made(*checks))
    for each in checks:
        assert each.title in page
        assert each.evidence in page


def test_the_worst_comes_first() -> None:
    page = render_html(made(check("pass"), check("warn"), check("unknown"), check("fail")))
    assert re.findall(r'<article class="item (\w+)"', page) == ["fail", "unknown", "warn", "pass"]


def test_what_to_do_is_told_once_however_many_checks_ask_for_it() -> None:
    page = render_html(made(*grid("fail", nodes=21, signers=21)))
    todo = page.split('<ol class="todo">')[1].split("</ol>")[0]
    assert todo.count("<li>") == 1
    assert "and 440 more like it" in todo


def test_nothing_to_do_is_said_when_all_is_well() -> None:
    assert "Nothing has to be done." in render_html(made(check("pass")))


def test_ten_thousand_phones_are_counted_and_listed_up_to_a_limit() -> None:
    page = render_html(made(*(phone("would-fail", f"SEP{n:012X}") for n in range(10_000))))
    assert "would fail 10000" in page
    assert page.count("<code>SEP") == LISTED_PHONES
    assert f"and {10_000 - LISTED_PHONES} more" in page


def test_the_japanese_report_tells_causes_in_japanese() -> None:
    page = render_html(made(check("fail", "tvs.vouches"), phone("would-fail")), language="ja")
    assert '<html lang="ja">' in page
    assert "移行元の TVS が新しいリストの署名者を知りません" in page


# Safety


def test_everything_from_outside_is_escaped() -> None:
    hostile = Check(HOSTILE, HOSTILE, "fail", HOSTILE, HOSTILE)
    cell = check("fail", "tvs.vouches", f"TVS {HOSTILE.replace(' ', '')} vouches for {HOSTILE}")
    lost = PhoneResult(HOSTILE, "would-fail", HOSTILE, HOSTILE, HOSTILE)
    result = replace(made(hostile, cell, lost), source=HOSTILE, destination=HOSTILE)
    for language in ("en", "ja"):
        page = render_html(result, HOSTILE, language)
        assert "<script" not in page
        assert page.count("</style>") == 1
        assert not re.search(r'="[^"]*"\'', page)


def test_a_brace_in_a_name_is_only_a_brace() -> None:
    assert "{at} {0} {" in render_html(replace(made(), source="{at} {0} {"))


def test_an_outcome_nobody_knows_is_unknown() -> None:
    assert "unknown 1" in render_html(made(phone("would-fly")))


def test_the_page_needs_and_allows_nothing_from_outside() -> None:
    page = render_html(made(*grid(), check("fail"), phone()))
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"'](?!#)", page)
    assert not re.search(r"@import|url\((?!#)|<script|<img|<link|<iframe|\son\w+=", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")


def test_the_policy_allows_exactly_the_style_sheet_in_the_page() -> None:
    page = render_html(made())
    style = page.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page
    assert " style=" not in page


def test_it_is_made_for_both_schemes_and_for_paper() -> None:
    page = render_html(made())
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page


def test_a_result_comes_back_whole_from_its_json() -> None:
    result = made(*grid(), check("fail"), phone("unknown"))
    assert Verification.of_json(json.loads(json.dumps(result.to_json()))) == result


def test_every_element_that_opens_closes() -> None:
    page = render_html(made(*grid("fail"), check("warn"), check("pass"), phone(), phone("would-fail")))
    body = page.split("<body>")[1].split("</body>")[0].replace("<br>", "")
    ET.fromstring(f"<body>{body}</body>")
