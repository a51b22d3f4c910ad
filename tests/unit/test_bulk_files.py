"""Names in the exchange directory, and the names of certificates inside the files."""

import pytest

from certferry.bulk.files import (
    BundleName,
    NameUnusableError,
    cluster_of_manifest,
    consolidated_manifest_name,
    final_name,
    is_bundle_of,
    is_consolidated,
    is_plain_name,
    lock_name,
    manifest_name,
    quoted,
    temporary_name,
)
from certferry.bulk.labels import Label
from certferry.trust.purpose import BulkType

VECTORS = [
    ("source_pub_tomcat.p12", BundleName(BulkType.TOMCAT, "source", "pub")),
    ("a.b-c_sub1.example.com_tftp.p12", BundleName(BulkType.TFTP, "a.b-c", "sub1.example.com")),
    ("my%5Fcluster_n%201_capf.p12", BundleName(BulkType.CAPF, "my_cluster", "n 1")),
    ("%E6%9D%B1%E4%BA%AC_pub_itlrecovery.p12", BundleName(BulkType.ITL_RECOVERY, "東京", "pub")),
    ("..%2Fup_pub_tftp.p12".replace("..", "%2E."), BundleName(BulkType.TFTP, "../up", "pub")),
    ("%63onsolidated_pub_tftp.p12", BundleName(BulkType.TFTP, "consolidated", "pub")),
    ("consolidated_tftp.p12", BundleName(BulkType.TFTP)),
]


@pytest.mark.parametrize(("text", "name"), VECTORS)
def test_a_file_name_tells_cluster_node_and_type(text: str, name: BundleName) -> None:
    assert name.text == text
    assert BundleName.parse(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "", "readme.txt", "a.p12", "a_b.p12", "a_b_c.p12", "a_b_tomcat.pfx", "a_b_c_tomcat.p12", "_b_tomcat.p12",
        "a__tomcat.p12", "consolidated_all.p12", "a b_c_tftp.p12", "a%5f_b_tftp.p12", "a%41_b_tftp.p12",
        "%FF_b_tftp.p12", "source.manifest.json", ".a_b_tftp.p12.0123456789abcdef.part", "A_B_TFTP.P12",
        "consolidated_pub_tftp.p12", "a%00_b_tftp.p12", "a_b%00_tftp.p12",
    ],
)  # fmt: skip
def test_other_files_are_foreign(text: str) -> None:
    assert BundleName.parse(text) is None


def test_manifests_and_locks_are_named_after_their_cluster() -> None:
    assert manifest_name("my_cluster") == "my%5Fcluster.manifest.json"
    assert cluster_of_manifest("my%5Fcluster.manifest.json") == "my_cluster"
    assert consolidated_manifest_name(BulkType.CAPF) == "consolidated_capf.manifest.json"
    assert cluster_of_manifest("consolidated_capf.manifest.json") is None
    assert cluster_of_manifest(".manifest.json") is None
    assert cluster_of_manifest("%41.manifest.json") is None
    assert (lock_name("a"), lock_name("Consolidated"), lock_name(None)) == (
        "a.lock",
        "%43onsolidated.lock",
        "consolidated.lock",
    )


def test_whose_a_file_is() -> None:
    assert is_bundle_of("a_b_tftp.p12", "a")
    assert not is_bundle_of("a_b_tftp.p12", "b")
    assert not is_bundle_of("consolidated_tftp.p12", "consolidated")
    assert is_consolidated("consolidated_tftp.p12")
    assert is_consolidated("consolidated_tftp.manifest.json")
    assert not is_consolidated("a_b_tftp.p12")


def test_a_temporary_name_tells_its_final_one() -> None:
    temporary = temporary_name("a_b_tftp.p12", "0123456789abcdef")
    assert final_name(temporary) == "a_b_tftp.p12"
    assert BundleName.parse(temporary) is None
    assert final_name(".a.p12.0123.part") is None
    assert final_name("a.p12") is None


@pytest.mark.parametrize("name", [".", "..", "a/b", "../a", "a\nb", "a\0", "\x1b[2J"])
def test_what_is_no_plain_name(name: str) -> None:
    assert not is_plain_name(name)


def test_names_no_file_can_carry_are_refused() -> None:
    with pytest.raises(NameUnusableError, match="empty"):
        quoted("")
    with pytest.raises(NameUnusableError, match="NUL inside"):
        quoted("a\0")
    with pytest.raises(NameUnusableError, match="characters long"):
        _ = BundleName(BulkType.TFTP, "c" * 150, "n" * 50).text


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("source/pub/tomcat/pub.example.com", Label("source", "pub", "tomcat", "pub.example.com")),
        ("a%2Fb/n/CallManager-ECDSA/x/y", Label("a/b", "n", "CallManager-ECDSA", "x/y")),
        ("a/b/ITLRecovery/", Label("a", "b", "ITLRecovery", "")),
    ],
)
def test_a_friendly_name_tells_where_a_certificate_came_from(text: str, label: Label) -> None:
    assert label.text == text
    assert Label.parse(text) == label


@pytest.mark.parametrize(
    "text", ["", "CUCM9X", "a/b/c", "a/b/unknown/cn", "/b/tomcat/cn", "a//tomcat/cn", "a%00/b/tomcat/cn"]
)
def test_other_friendly_names_are_foreign(text: str) -> None:
    assert Label.parse(text) is None


def test_a_common_name_that_no_pkcs12_can_hold_is_shown_as_well_as_possible() -> None:
    assert Label("a", "b", "tomcat", "x\x00\U0001f600y").text == "a/b/tomcat/x??y"
