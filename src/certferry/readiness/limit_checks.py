"""What the kernel lets a process have: open files, and room for datagrams that wait."""

import socket
from collections.abc import Iterable
from math import ceil
from pathlib import Path

from certferry.readiness.kernel import UNIT_FOLDERS, unit_that_opens
from certferry.serve.limits import places_for_phones
from certferry.serve.ports import Port
from certferry.serve.tftp import RECEIVE_BUFFER, widen_receive_buffer
from certferry.trust.list_check import Check


def files_check(phones: int, registrars: int) -> Check:
    """Compare how many phones a node can keep connected with how many there are: a phone is an open file."""
    title = "Each phone can keep its connection open"
    places, share = places_for_phones(), ceil(phones / max(registrars, 1))
    evidence = f"a node here keeps {places:,} phones connected; the cluster has {phones:,} on {registrars} nodes"
    remedy = f"Allow more open files: LimitNOFILE={2 * phones + 1024} in the unit, or ulimit -n"
    if places < share:
        return Check("config.files", title, "fail", evidence, remedy)
    if places < phones:
        return Check("config.files", title, "warn", f"{evidence}: too few, should the other nodes fail", remedy)
    return Check("config.files", title, "pass", evidence)


def buffer_check(tftp: Iterable[Port], folders: Iterable[Path] = UNIT_FOLDERS) -> Check | None:
    """See whether TFTP gets the receive buffer it asks for: requests of a storm of phones wait in it."""
    ports, units = tuple(tftp), tuple(folders)
    if not ports:
        return None
    title = "TFTP gets room for the requests of a storm of phones"
    by_systemd = {unit_that_opens(port.kind, port.address, units) for port in ports} - {None}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        widen_receive_buffer(probe, RECEIVE_BUFFER)
        granted = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel tells twice what it means
    if granted >= RECEIVE_BUFFER:
        return Check("config.receive-buffer", title, "pass", f"{granted:,} bytes")
    if by_systemd:
        return Check("config.receive-buffer", title, "pass", f"{', '.join(map(str, by_systemd))} asks for it")
    evidence = f"the kernel gives {granted:,} bytes of the {RECEIVE_BUFFER:,} wanted"
    remedy = f"Run: sysctl -w net.core.rmem_max={RECEIVE_BUFFER}; and keep it in /etc/sysctl.d"
    return Check("config.receive-buffer", title, "warn", evidence, remedy)
