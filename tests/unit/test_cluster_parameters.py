"""Enterprise parameters: their defaults, the spellings they take, and what they refuse."""

import json

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import (
    PARAMETERS,
    ROLLBACK,
    SECURITY_MODE,
    SIGNATURE_ALGORITHM,
    TVS_CACHE,
    ParameterUnknownError,
    ParameterValueError,
)
from certferry.cluster.values import SecurityMode
from conftest import MakeCluster

DEFAULTS = {
    ROLLBACK: "false",
    SECURITY_MODE: "non-secure",
    SIGNATURE_ALGORITHM: "sha-1",
    TVS_CACHE: "86400",
}


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


def test_a_new_cluster_has_unified_cms_defaults(cluster: Cluster) -> None:
    assert cluster.parameters() == DEFAULTS


def test_every_parameter_has_the_title_an_administrator_knows() -> None:
    assert [parameter.title for parameter in PARAMETERS.values()] == [
        "Prepare Cluster for Rollback to Pre 8.0",
        "Cluster Security Mode",
        "TFTP File Signature Algorithm",
        "TVS: time a phone may keep an answer",
    ]


def test_every_default_is_a_value_the_parameter_takes() -> None:
    assert {key: parameter.read(parameter.default) for key, parameter in PARAMETERS.items()} == DEFAULTS


@pytest.mark.parametrize(
    ("key", "spellings", "stored"),
    [
        (ROLLBACK, ["true", "True", " TRUE ", "t", "yes", "1"], "true"),
        (ROLLBACK, ["false", "False", "F", "no", "0"], "false"),
        (SECURITY_MODE, ["mixed", "Mixed", " MIXED"], "mixed"),
        (SECURITY_MODE, ["non-secure", "Non-Secure"], "non-secure"),
        (SIGNATURE_ALGORITHM, ["sha-512", "SHA-512"], "sha-512"),
        (TVS_CACHE, ["60", " 60 ", "060"], "60"),
        (TVS_CACHE, ["2592000"], "2592000"),
    ],
)
def test_a_value_is_taken_in_any_usual_spelling_and_kept_in_one(
    cluster: Cluster, key: str, spellings: list[str], stored: str
) -> None:
    for spelling in spellings:
        cluster.set_parameter(key, spelling)
        assert cluster.parameters() == {**DEFAULTS, key: stored}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (ROLLBACK, "maybe", "'maybe' is neither true nor false"),
        (ROLLBACK, "", "'' is neither true nor false"),
        (SECURITY_MODE, "secure", "'secure' is none of non-secure, mixed"),
        (SIGNATURE_ALGORITHM, "sha-256", "'sha-256' is none of sha-1, sha-512"),
        (TVS_CACHE, "0", "'0' is not a number of seconds from 1 to 2592000"),
        (TVS_CACHE, "2592001", "not a number of seconds"),
        (TVS_CACHE, "-5", "not a number of seconds"),
        (TVS_CACHE, "1.5", "not a number of seconds"),
        (TVS_CACHE, "9" * 5000, "not a number of seconds"),
    ],
)
def test_a_value_that_a_parameter_does_not_take_changes_nothing(
    cluster: Cluster, key: str, value: str, told: str
) -> None:
    version = cluster.version()
    with pytest.raises(ParameterValueError, match=told):
        cluster.set_parameter(key, value)
    assert cluster.parameters() == DEFAULTS
    assert cluster.version() == version


def test_an_unknown_key_is_told_with_the_known_ones(cluster: Cluster) -> None:
    with pytest.raises(ParameterUnknownError, match=f"'sbd' is none of {', '.join(DEFAULTS)}"):
        cluster.set_parameter("sbd", "true")


def test_the_security_mode_is_read_from_its_parameter(cluster: Cluster) -> None:
    cluster.set_parameter(SECURITY_MODE, "mixed")
    assert Cluster.open(cluster.location.text).security_mode is SecurityMode.MIXED


def test_a_parameter_set_is_a_change_that_nodes_learn_of_and_the_audit_log_tells(cluster: Cluster) -> None:
    version = cluster.version()
    cluster.set_parameter(TVS_CACHE, "60")
    assert cluster.version() == version + 1
    line = json.loads(cluster.audit_lines()[-1])
    assert (line["action"], line["key"], line["value"]) == ("set-parameter", TVS_CACHE, "60")
