"""How many phones a second migrate, beside the cost of the cryptography alone that each of them needs.

One secure phone needs, on phone and servers together: two TLS handshakes (TVS; registration with client certificate),
three signature checks of files. The floor measures just those, in one thread, without sockets.

``KB a phone`` is by how much the processes of phones grew for each phone that booted twice; a last line tells it of
secure phones that stay registered, each over its own TLS connection.
"""

import argparse
import asyncio
import gc
import ssl
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from certferry.cluster.cluster import Cluster
from certferry.fleet.device import Device
from certferry.fleet.fleet import AT_ONCE
from certferry.fleet.limits import resident_bytes
from certferry.fleet.resident import Happening, PhoneEvent, ResidentPhone
from certferry.lab.demo import DemoPlan, ModeReport, demonstrate
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.serve.limits import raise_file_limit

PHONES = 500
SIGNATURES_BY_RSA_KEYS = 3
"""Private operations of one secure phone: TVS server, registrar server, LSC of the phone."""
WARM = 50
"""Phones that register before memory is looked at, so that what all share is not counted."""
SETTLED_SECONDS = 1
"""So long the last phones may still be sending their alarms."""
CHECKS = 6
"""Public operations of one secure phone, about: three files, and certificates in the handshakes."""


class Quiet:
    """Tells nobody."""

    def step(self, title: str) -> None:
        """Keep still."""

    def detail(self, text: str) -> None:
        """Keep still."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Keep still."""


def main() -> None:
    """Run both modes and the floor, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=PHONES)
    phones = parser.parse_args().phones
    floor = cryptography_floor()
    print(f"{ssl.OPENSSL_VERSION}; {phones} phones, clusters of 3 nodes, 10.5.2 -> 11.5.1")
    print(f"{'mode':<12}{'phones/s':>10}{'ms a phone':>12}{'x the bare cryptography':>26}{'KB a phone':>12}")
    for secure in (False, True):
        report = migrate(phones, secure=secure)
        if report.failed:
            raise SystemExit(f"{report.failed} phones failed: {report.failures}")
        each = report.seconds / report.phones * 1000
        name = "secure" if secure else "non-secure"
        ratio = f"{each / floor:>26.1f}" if secure else f"{'-':>26}"
        held = "-" if report.bytes_each is None else f"{report.bytes_each / 1024:.1f}"
        print(f"{name:<12}{report.phones / report.seconds:>10.0f}{each:>12.2f}{ratio}{held:>12}")
    print(f"bare cryptography of one secure phone: {floor:.2f} ms on one core")
    with tempfile.TemporaryDirectory() as folder:
        each_resident = uvloop.run(resident_bytes_each(Path(folder), phones))
    print(f"a secure phone that stays registered: {each_resident / 1024:.1f} KB")


def migrate(phones: int, *, secure: bool) -> ModeReport:
    """Run the demonstration with nodes in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        return uvloop.run(demonstrate(DemoPlan(phones=phones), Path(folder), Quiet(), secure=secure))


async def resident_bytes_each(folder: Path, phones: int) -> float:
    """Let secure phones stay in this process, a cluster serve them in another, and tell by how much this one grows."""
    raise_file_limit()
    async with Lab(folder, in_processes=True) as lab:
        cluster = lab.create_cluster("source", "10.5.2", secure=True)
        known = [phone.device for phone in lab.add_phones([cluster], phones + WARM, secure=True)]
        await lab.start(cluster)
        devices = [
            Device(name, Flash(), lsc=lsc) for name, lsc in zip(known, lab.issue_lscs(cluster, known), strict=True)
        ]
        async with asyncio.TaskGroup() as group:
            staying = await settle(devices[:WARM], cluster, group)
            gc.collect()
            before = resident_bytes()
            staying += await settle(devices[WARM:], cluster, group)
            gc.collect()
            grown = resident_bytes() - before
            for task in staying:
                task.cancel()
    return grown / phones


async def settle(devices: list[Device], cluster: Cluster, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
    """Switch phones on, so many at a time, and wait until all of them are registered."""
    turns = asyncio.Semaphore(AT_ONCE)
    registered = 0
    all_there = asyncio.Event()

    def tell(event: PhoneEvent) -> None:
        nonlocal registered
        if event.happening is Happening.FAILED:
            raise SystemExit(f"{event.device} did not register: {event.text}")
        if event.happening is Happening.REGISTERED:
            turns.release()
            registered += 1
            if registered == len(devices):
                all_there.set()

    tasks = []
    for device in devices:
        await turns.acquire()
        tasks.append(group.create_task(ResidentPhone(device, lambda: tftp_servers(cluster), tell=tell).run()))
    await all_there.wait()
    await asyncio.sleep(SETTLED_SECONDS)
    return tasks


def cryptography_floor() -> float:
    """Measure the RSA operations of one secure phone, in ms."""
    key = rsa.generate_private_key(65537, 2048)
    public, rounds, data = key.public_key(), 300, b"x" * 8192
    began = process_time()
    for _ in range(rounds):
        for _ in range(SIGNATURES_BY_RSA_KEYS):
            signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        for _ in range(CHECKS):
            public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    return (process_time() - began) / rounds * 1000


if __name__ == "__main__":
    started = perf_counter()
    main()
    print(f"took {perf_counter() - started:.0f} s")
