"""Whatever servers send, a verification ends in verdicts and never in an exception."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certferry.cluster.values import Phone
from certferry.errors import MalformedError
from certferry.lab.keys import PooledKeys
from certferry.migrate.seen import Seen
from certferry.migrate.survey import signers_of
from certferry.migrate.verify import judge
from conftest import MakeCluster
from migration_views import seen, view

DEVICE = "SEP001122334455"
NAMES = [
    "ITLFile.tlv",
    "CTLFile.tlv",
    f"ITL{DEVICE}.tlv",
    f"CTL{DEVICE}.tlv",
    f"{DEVICE}.cnf.xml.sgn",
    f"{DEVICE}.cnf.xml",
]
See = Callable[[str, bytes], Seen]


@pytest.fixture
def with_file(make_cluster: MakeCluster, key_pool: PooledKeys) -> See:
    """See a pair whose source and destination serve one file of one's own making."""
    source, destination = (make_cluster(name, nodes=1, secure=True) for name in ("source", "destination"))
    for cluster in (source, destination):
        cluster.add_phones([Phone(DEVICE)])
    healthy = seen(source, destination, DEVICE, inside=True)
    here, there = (view(cluster, DEVICE, inside=True) for cluster in (source, destination))

    def see(name: str, data: bytes) -> Seen:
        sides = []
        for side in (here, there):
            node = side.nodes[0]
            file = replace(node.files["ITLFile.tlv"], name=name)
            odd = replace(file, tftp=replace(file.tftp, data=data), http=replace(file.http, data=data))
            sides.append(replace(side, nodes=(replace(node, files={**node.files, name: odd}),)))
        return replace(healthy, source=sides[0], destination=sides[1])

    return see


def judged(both: Seen) -> None:
    signers_of(both.destination)
    assert both.source.tvs_nodes is not None
    assert judge(both)
    try:
        both.source.flash(DEVICE)
    except MalformedError:
        return


quickly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@quickly
@given(name=st.sampled_from(NAMES), data=st.binary(max_size=300))
def test_arbitrary_bytes_are_judged(with_file: See, name: str, data: bytes) -> None:
    judged(with_file(name, data))


@quickly
@given(name=st.sampled_from(NAMES[:5]), seed=st.integers(0, 2**32))
def test_mutated_files_are_judged(with_file: See, name: str, seed: int) -> None:
    # Positions that Hypothesis would draw evenly over 10 KB mostly hit certificates; a seed costs it nothing.
    chance = random.Random(seed)
    data = bytearray(with_file("unused", b"").source.nodes[0].files[name].data or b"")
    for _ in range(chance.randint(1, 8)):
        data[chance.choice((chance.randrange(len(data)), chance.randrange(min(400, len(data)))))] = chance.randrange(
            256
        )
    judged(with_file(name, bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])))
