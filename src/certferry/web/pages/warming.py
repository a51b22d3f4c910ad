"""What the first page of each kind would have to read and compile, done before somebody asks for it.

Opening forty templates, reading both languages and looking through the trust stores of clusters with 10,000
certificates takes seconds; done beside the first pages it costs nobody a wait.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from certferry.cluster.cluster import Cluster
from certferry.errors import Refusal
from certferry.web.pages.checklist import missing_devices
from certferry.web.pages.drawing import environment
from certferry.web.pages.kept import DEVICES, HOLDINGS
from certferry.web.pages.language import LANGUAGES, table
from certferry.web.pages.sentences import remedy_of
from certferry.web.pages.trust_lists import sides_of


def warm(clusters: Sequence[Cluster]) -> None:
    """Compile every template, read every language, and look through ``clusters`` once."""
    drawn = environment()
    for name in drawn.list_templates():
        drawn.get_template(name)
    for language in LANGUAGES:
        table(language)
        remedy_of("", "any", language)  # looks for the sentence in every table
    devices = list(_devices(clusters))
    for here in devices:
        for there in devices:
            missing_devices(here, there)
    with suppress(Refusal):
        sides_of(clusters)


def _devices(clusters: Sequence[Cluster]) -> Iterator[frozenset[str]]:
    for cluster in clusters:
        with suppress(Refusal):  # who asks will be told
            HOLDINGS.of(cluster)
            yield DEVICES.of(cluster)
