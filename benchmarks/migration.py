"""How many phones a second migrate, beside the cost of the cryptography alone that each of them needs.

One secure phone needs, on phone and servers together: two TLS handshakes (TVS; registration with client certificate),
three signature checks of files. The floor measures just those, in one thread, without sockets.
"""

import argparse
import ssl
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from certferry.lab.demo import DemoPlan, ModeReport, demonstrate

PHONES = 500
SIGNATURES_BY_RSA_KEYS = 3
"""Private operations of one secure phone: TVS server, registrar server, LSC of the phone."""
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
    print(f"{'mode':<12}{'phones/s':>10}{'ms a phone':>12}{'x the bare cryptography':>26}")
    for secure in (False, True):
        report = migrate(phones, secure=secure)
        if report.failed:
            raise SystemExit(f"{report.failed} phones failed: {report.failures}")
        each = report.seconds / report.phones * 1000
        name = "secure" if secure else "non-secure"
        ratio = f"{each / floor:>26.1f}" if secure else f"{'-':>26}"
        print(f"{name:<12}{report.phones / report.seconds:>10.0f}{each:>12.2f}{ratio}")
    print(f"bare cryptography of one secure phone: {floor:.2f} ms on one core")


def migrate(phones: int, *, secure: bool) -> ModeReport:
    """Run the demonstration with nodes in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        return uvloop.run(demonstrate(DemoPlan(phones=phones), Path(folder), Quiet(), secure=secure))


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
