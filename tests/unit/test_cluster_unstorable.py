"""What no database keeps is refused as what it is, the asker's fault, and changes nothing."""

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.database import UnstorableError
from certferry.cluster.values import Phone
from certferry.errors import UsageError
from conftest import MakeCluster

HALF = "\ud800"
"""Half a character: JSON can spell it, UTF-8 cannot."""


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


def test_half_a_character_is_refused_where_it_is_to_be_kept(cluster: Cluster) -> None:
    with pytest.raises(UnstorableError, match="what was given cannot be kept"):
        cluster.add_phones([Phone("SEP001122334455", description=HALF)])
    assert cluster.phones() == ()


def test_half_a_character_is_refused_where_something_is_looked_for(cluster: Cluster) -> None:
    with pytest.raises(UnstorableError):
        cluster.accounts.find_user(HALF)


def test_it_is_told_as_wrong_usage_and_does_not_repeat_what_cannot_be_printed(cluster: Cluster) -> None:
    with pytest.raises(UsageError) as refused:
        cluster.accounts.find_user(HALF)
    assert refused.value.sentence.encode()
