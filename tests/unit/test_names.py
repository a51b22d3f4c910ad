"""Names are written in the cluster's one form and compared whatever form another writer gave them."""

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.names import comparable, name_text
from conftest import x509_name

PUBLISHED = "CN=ucm11pub.stormin.local;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU"
values = st.text(st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=0x17F), min_size=1, max_size=12)
cluster_names = st.lists(st.tuples(st.sampled_from(["CN", "OU", "O", "L", "ST", "C"]), values), min_size=1, max_size=6)


def test_the_published_name_is_66_bytes_with_its_nul() -> None:
    text = name_text(x509_name(PUBLISHED))
    assert text == PUBLISHED
    assert len(text) + 1 == 66


def test_the_order_is_fixed_whatever_the_certificate_has() -> None:
    assert name_text(x509_name("C=AU;ST=QLD;L=Brisbane;O=Stormin;OU=IST;CN=pub")) == (
        "CN=pub;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU"
    )


def test_attributes_of_other_types_are_dropped() -> None:
    text = name_text(x509_name("DC=local;DC=stormin;CN=stormin-WIN2012-CA"))
    assert text == "CN=stormin-WIN2012-CA"
    assert len(text) + 1 == 22


def test_several_attributes_of_one_type_keep_their_order() -> None:
    assert name_text(x509_name("OU=first;CN=pub;OU=second")) == "CN=pub;OU=first;OU=second"


def test_an_empty_name_is_empty_text() -> None:
    assert name_text(x509.Name([])) == ""


def test_a_name_keeps_letters_beyond_ascii() -> None:
    assert name_text(x509.Name([x509.NameAttribute(NameOID.LOCALITY_NAME, "Zürich")])) == "L=Zürich"


@pytest.mark.parametrize(
    "spelling",
    [
        "CN=pub,OU=IST,O=Stormin",
        "O=Stormin,OU=IST,CN=pub",
        "cn=pub; ou=IST; o=Stormin",
        "CN=PUB;OU=ist;O=STORMIN",
        'CN="pub     ";OU=IST;O="Stormin',
        "DC=local;CN=pub;OU=IST;O=Stormin;E=a@example.com",
        "CN=pub;OU=IST;O=Stormin\0",
        "  CN = pub ;OU= IST;O=Stormin;",
    ],
)
def test_spellings_of_one_name_compare_equal(spelling: str) -> None:
    assert comparable(spelling) == comparable("CN=pub;OU=IST;O=Stormin")


@pytest.mark.parametrize(
    "other",
    ["CN=pub", "CN=pub;OU=IST;O=Storming", "CN=IST;OU=pub;O=Stormin", "CN=pub;OU=IST;OU=IST;O=Stormin", ""],
)
def test_different_names_compare_different(other: str) -> None:
    assert comparable(other) != comparable("CN=pub;OU=IST;O=Stormin")


@pytest.mark.parametrize("spelling", ["CN=pub,O=Example, Inc", "CN=pub;O=Example\\, Inc", 'CN=pub;O="Example, Inc"'])
def test_a_comma_inside_a_value_stays_part_of_it(spelling: str) -> None:
    assert comparable(spelling) == comparable("CN=pub;O=Example, Inc")
    assert comparable(spelling) != comparable("CN=pub;O=Example")


def test_a_comma_inside_a_dropped_value_is_dropped_with_it() -> None:
    assert comparable("CN=pub,E=somebody, somewhere,O=Example") == comparable("CN=pub;O=Example")


def test_text_that_is_no_name_is_comparable_to_nothing_in_particular() -> None:
    assert comparable("no name at all") == ""


@given(cluster_names)
def test_separator_order_and_case_never_matter(parts: list[tuple[str, str]]) -> None:
    usual = ";".join(f"{label}={value}" for label, value in parts)
    other = " , ".join(f"{label.lower()}={value}" for label, value in reversed(parts))
    assert comparable(usual) == comparable(other)


@given(st.text(max_size=60))
def test_comparing_is_stable_for_any_text(text: str) -> None:
    assert comparable(comparable(text)) == comparable(text)
