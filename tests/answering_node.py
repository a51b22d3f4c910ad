"""A node without sockets for tests of resets by hand: it takes what is asked of its phones, and each ends as told."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from certferry.cluster.cluster import Cluster
from certferry.cluster.resets import ResetOutcome


@contextmanager
def a_node(cluster: Cluster, phones: Mapping[str, ResetOutcome | None]) -> Iterator[None]:
    """A node at which ``phones`` are registered, each of which ends so (None: it never says)."""
    ready, over = threading.Event(), threading.Event()

    def serve() -> None:
        with closing(Cluster.open(cluster.location.text)) as opened:
            ready.set()
            while not over.wait(0.02):
                for request in opened.resets.take("pub", phones):
                    if outcome := phones[request.device]:
                        opened.resets.end(request.id, outcome)

    serving = threading.Thread(target=serve)
    serving.start()
    assert ready.wait(60)
    try:
        yield
    finally:
        over.set()
        serving.join()
