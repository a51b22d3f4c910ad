"""Tests stay on this machine: what would reach another one is refused before a byte is sent."""

import socket

import pytest

from no_other_hosts import OtherHostError

ELSEWHERE = ("192.0.2.1", 9)


def test_no_connection_to_another_machine_is_begun() -> None:
    with socket.socket() as dialing, pytest.raises(OtherHostError, match=r"192\.0\.2\.1"):
        dialing.connect(ELSEWHERE)


def test_no_datagram_is_sent_to_another_machine() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sending, pytest.raises(OtherHostError):
        sending.sendto(b"", ELSEWHERE)


def test_this_machine_is_reached_as_ever() -> None:
    with socket.socket() as listening, socket.socket() as dialing:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        dialing.connect(listening.getsockname())
