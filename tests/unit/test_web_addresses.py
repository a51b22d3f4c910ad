"""Where the pages can be opened, and what is said when the certificate does not name that place."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from certferry.cli.output import Output
from certferry.cli.web_serving import tell_ready
from certferry.cluster.issuing import Request, self_signed
from certferry.trust.purpose import Purpose
from certferry.web.addresses import Openable, hosts_of, openable
from certferry.web.context import WebContext
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster

EVERYWHERE = "0.0.0.0"


@pytest.mark.parametrize("bound", [EVERYWHERE, "::"])
@pytest.mark.parametrize(
    ("machine", "named", "shown"),
    [
        ("src-pub", ["src-pub"], "src-pub"),
        ("src-pub", ["src-pub.example.com"], "src-pub.example.com"),
        ("src-pub.example.com", ["src-pub"], "src-pub"),
        ("SRC-PUB", ["other", "src-pub"], "src-pub"),
        ("src-pub.example.com", ["*.example.com"], "src-pub.example.com"),
    ],
)
def test_pages_that_listen_everywhere_are_opened_under_the_name_in_the_certificate(
    bound: str, machine: str, named: Sequence[str], shown: str
) -> None:
    assert openable(bound, bound, machine, named) == Openable((shown,))


@pytest.mark.parametrize(
    ("named", "told"),
    [(["src-pub", "192.0.2.7"], "names src-pub, 192.0.2.7, not ops"), (["*.example.com"], "not ops"), ([], "no host")],
)
def test_a_certificate_that_does_not_name_this_machine_is_warned_of(named: Sequence[str], told: str) -> None:
    opened = openable(EVERYWHERE, EVERYWHERE, "ops", named)
    assert opened.hosts == ("ops",)
    assert told in opened.warning


def test_one_address_is_shown_as_it_was_given_and_warned_of_unless_it_is_named() -> None:
    assert openable("192.0.2.7", "192.0.2.7", "ops", ["src-pub", "192.0.2.7"]) == Openable(("192.0.2.7",))
    told = openable("192.0.2.7", "192.0.2.7", "src-pub", ["src-pub"])
    assert (told.hosts, "names src-pub, not 192.0.2.7" in told.warning) == (("192.0.2.7",), True)
    assert openable("src-pub", "192.0.2.7", "ops", ["src-pub"]) == Openable(("src-pub",))


@pytest.mark.parametrize(("asked", "bound"), [("127.0.0.1", "127.0.0.1"), ("localhost", "::1")])
def test_pages_for_this_machine_alone_are_opened_where_they_listen(asked: str, bound: str) -> None:
    assert openable(asked, bound, "ops", ["src-pub"]) == Openable((asked,))
    assert openable(asked, bound, "ops", None) == Openable((asked,))


def test_addresses_are_written_as_browsers_take_them() -> None:
    assert Openable(("src-pub", "2001:db8::7")).urls("https", 8443) == [
        "https://src-pub:8443/",
        "https://[2001:db8::7]:8443/",
    ]


def test_the_names_of_a_certificate_are_its_alternative_names(
    make_certificate: MakeCertificate, rsa_key: RSAPrivateKey
) -> None:
    request = Request(Purpose.TOMCAT, "src-pub", alternative_names=["src-pub.example.com"])
    assert hosts_of(self_signed(request, rsa_key, CLUSTER_BORN)) == ["src-pub", "src-pub.example.com"]
    assert hosts_of(make_certificate("CN=src-pub")) == []


async def test_a_server_that_listens_everywhere_tells_where_to_open_it(
    make_cluster: MakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = WebContext(make_cluster("source"))
    for machine, warned in (("source-pub", False), ("ops", True)):
        monkeypatch.setattr("socket.gethostname", lambda machine=machine: machine)
        await tell_ready(Output(as_json=True), world, Listening(), EVERYWHERE)  # type: ignore[arg-type]
        told = capsys.readouterr()
        assert json.loads(told.out)["url"] == f"https://{machine}:8443/"
        assert ("names source-pub, not ops" in told.err) is warned


class Listening:
    """A server that listens everywhere, as far as those are concerned whom it tells."""

    ready = asyncio.Event()
    ready.set()
    port, address = 8443, EVERYWHERE
