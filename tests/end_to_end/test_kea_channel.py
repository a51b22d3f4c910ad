"""The way to Kea: what is sent, and what becomes of answers that are wrong or hostile; secrets stay inside."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from certferry.dhcp import kea_channel as channels
from certferry.dhcp.kea_channel import (
    HttpChannel,
    KeaAddressError,
    KeaCommandUnknownError,
    KeaPasswordExposedError,
    KeaRefusedError,
    KeaUnauthorizedError,
    KeaUnreachableError,
    UnixChannel,
    kea_channel,
)


@contextmanager
def unix_kea(path: Path, answer: bytes) -> Iterator[list[Any]]:
    """Answer each connection with ``answer``; yields what was asked."""
    asked: list[Any] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(json.loads(connection.recv(65536)))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@contextmanager
def http_kea(status: int, answer: bytes) -> Iterator[tuple[str, list[Any]]]:
    """Answer each request; yields the URL and what was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.headers.get("Authorization"), json.loads(body)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()
            thread.join(10)


def over_unix(tmp_path: Path, answer: bytes) -> Any:
    with unix_kea(tmp_path / "kea.sock", answer):
        return UnixChannel(tmp_path / "kea.sock").call("config-get")


def over_http(_tmp_path: Path, answer: bytes) -> Any:
    with http_kea(200, answer) as (url, _):
        return kea_channel(url).call("config-get")


both_ways = pytest.mark.parametrize("ask", [over_unix, over_http])
Ask = Callable[[Path, bytes], Any]


# --- where Kea is


def test_a_path_is_a_socket_and_a_url_an_agent() -> None:
    assert isinstance(kea_channel("/run/kea/kea4-ctrl-socket"), UnixChannel)
    assert isinstance(kea_channel("https://kea.example.com:8000/"), HttpChannel)


def test_the_name_is_the_same_with_and_without_the_last_slash() -> None:
    assert kea_channel("http://127.0.0.1:8000/").name == kea_channel("http://127.0.0.1:8000").name


@pytest.mark.parametrize("place", ["", "ftp://kea.example.com/", "http://", "https://kea:99999/", "http://kea:x/"])
def test_another_place_is_refused(place: str) -> None:
    with pytest.raises(KeaAddressError):
        kea_channel(place)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(KeaAddressError) as refused:
        kea_channel("https://admin:geheim@kea.example.com/")
    assert "geheim" not in str(refused.value) + refused.value.remedy


@pytest.mark.parametrize("host", ["kea.example.com", "192.0.2.1", "[2001:db8::1]"])
def test_a_password_does_not_cross_a_network_unencrypted(host: str) -> None:
    with pytest.raises(KeaPasswordExposedError):
        kea_channel(f"http://{host}:8000/", user="admin", password="geheim")
    assert "geheim" not in repr(kea_channel(f"https://{host}:8000/", user="admin", password="geheim"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_on_kea_s_own_host_it_need_not_be_encrypted(host: str) -> None:
    assert isinstance(kea_channel(f"http://{host}:8000/", user="admin", password="geheim"), HttpChannel)


# --- what is said


def test_a_command_goes_to_the_socket_as_kea_knows_it(tmp_path: Path) -> None:
    with unix_kea(tmp_path / "kea.sock", b'{"result": 0, "arguments": {"a": 1}}') as asked:
        channel = UnixChannel(tmp_path / "kea.sock")
        assert channel.call("config-set", {"Dhcp4": {}}) == {"a": 1}
        channel.call("config-get")
    assert asked == [{"command": "config-set", "arguments": {"Dhcp4": {}}}, {"command": "config-get"}]


def test_a_command_to_the_agent_names_the_server_and_the_user() -> None:
    with http_kea(200, b'[{"result": 0, "arguments": {"a": 1}}]') as (url, asked):
        assert kea_channel(url, user="admin", password="geheim").call("config-get") == {"a": 1}
    assert asked == [("Basic YWRtaW46Z2VoZWlt", {"command": "config-get", "service": ["dhcp4"]})]


@both_ways
def test_an_answer_without_arguments_is_done(ask: Ask, tmp_path: Path) -> None:
    assert ask(tmp_path, b'{"result": 0, "text": "ok"}') == {}


# --- what goes wrong


@both_ways
def test_a_refusal_is_told_in_kea_s_words(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(KeaRefusedError, match="Kea refused config-get: bad subnet"):
        ask(tmp_path, b'{"result": 1, "text": "bad subnet"}')


@both_ways
def test_the_configuration_that_kea_repeats_in_a_refusal_is_not_told(ask: Ask, tmp_path: Path) -> None:
    text = "Error while processing command 'config-set': wrong, params: '{ \"password\": \"geheim\" }'"
    with pytest.raises(KeaRefusedError) as refused:
        ask(tmp_path, json.dumps({"result": 1, "text": text}).encode())
    assert "wrong" in str(refused.value)
    assert "geheim" not in str(refused.value)


@both_ways
def test_a_command_that_kea_does_not_take_is_told(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(KeaCommandUnknownError, match="does not take config-get"):
        ask(tmp_path, b'{"result": 2, "text": "command not supported"}')


@both_ways
@pytest.mark.parametrize("answer", [b"", b"[]", b"hello", b"[1]", b"{}", b"null", b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_not_kea_s_is_told(ask: Ask, answer: bytes, tmp_path: Path) -> None:
    with pytest.raises(KeaUnreachableError, match="not Kea's"):
        ask(tmp_path, answer)


@both_ways
def test_an_answer_without_end_is_not_waited_for(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "LARGEST_ANSWER", 1000)
    with pytest.raises(KeaUnreachableError, match="more than 1000 bytes"):
        ask(tmp_path, b" " * 5000)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_user_or_password_is_told(status: int) -> None:
    with http_kea(status, b"") as (url, _), pytest.raises(KeaUnauthorizedError, match=str(status)):
        kea_channel(url, user="admin", password="wrong").call("config-get")


def test_something_else_than_an_agent_is_told() -> None:
    with http_kea(404, b"no") as (url, _), pytest.raises(KeaUnreachableError, match="404"):
        kea_channel(url).call("config-get")


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeaUnreachableError, match="No such file"):
        UnixChannel(tmp_path / "none").call("config-get")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(KeaUnreachableError, match="refused"):
            kea_channel(url).call("config-get")
