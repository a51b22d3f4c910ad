"""What a service tells systemd reaches it, and a manager that is not there stops nobody."""

import os
import socket
from pathlib import Path

import pytest

from certferry.serve.notify import READY, notify


@pytest.mark.parametrize("place", ["file", "abstract"])
def test_what_a_service_says_arrives_at_the_socket_that_is_named(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tmp_path / "notify") if place == "file" else f"\0certferry-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(10)
        notify(READY)
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("place", [None, "", "/nowhere/notify", "vsock:2:1234"])
def test_a_socket_where_nobody_listens_stops_no_service(place: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if place is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", place)
    notify(READY)
