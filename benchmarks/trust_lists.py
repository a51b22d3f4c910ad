"""What building and signing the ITL of a cluster of 21 nodes costs, beside its RSA signature alone."""

from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from certferry.cluster.issuing import Organisation, Request, self_signed
from certferry.trust.list_rules import NodeCertificates, itl_records
from certferry.trust.purpose import Purpose
from certferry.trust.release import Release
from certferry.wire.signed_header import verify
from certferry.wire.trust_list import TrustList, TrustRecord, build_trust_list

NODES = 21
ROUNDS = 200


def main() -> None:
    """Print the median of each step."""
    key = rsa.generate_private_key(65537, 2048)
    nodes = [node(number, key) for number in range(NODES)]
    signer = nodes[0].certificates[Purpose.ITL_RECOVERY]

    def build() -> bytes:
        specs = itl_records(Release(12, 5), False, False, nodes[0].name, nodes)  # noqa: FBT003 -- its own form
        records = [
            TrustRecord.of_certificate(spec.certificate, spec.role, spec.dns_name, spec.ip_address)
            for spec in specs
            if spec.certificate
        ]
        return build_trust_list("ITL", records, signer, key, timestamp=1_700_000_000)

    data = build()
    signature = timed(lambda: key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
    print(f"ITL of {NODES} nodes: {len(data)} bytes, {len(TrustList.parse(data).records)} records")
    print(f"{'step':<34}{'ms':>8}{'x RSA-2048 signature':>24}")
    for name, step in (
        ("RSA-2048 signature alone", lambda: key.sign(data, padding.PKCS1v15(), hashes.SHA256())),
        ("choose records, build and sign", build),
        ("parse, as a phone does", lambda: TrustList.parse(data)),
        ("verify, as a phone does", lambda: verify(data, signer)),
    ):
        cost = timed(step)
        print(f"{name:<34}{cost:>8.3f}{cost / signature:>24.2f}")


def node(number: int, key: rsa.RSAPrivateKey) -> NodeCertificates:
    """Make the certificates of one node; all share one key, since keys are not what is measured."""
    name, now = f"node{number}.example.com", datetime.now(UTC)
    purposes = [Purpose.CALLMANAGER, Purpose.TVS, Purpose.ITL_RECOVERY, *([Purpose.CAPF] if number == 0 else [])]
    made = {purpose: self_signed(Request(purpose, name, Organisation()), key, now) for purpose in purposes}
    roles = frozenset({"tvs", "tftp", "callmanager"} | ({"publisher", "capf"} if number == 0 else set()))
    return NodeCertificates(name, f"10.0.0.{number + 1}", roles, made)


def timed(step: Callable[[], object]) -> float:
    """Return the median time of a step in ms."""
    times = []
    for _ in range(ROUNDS):
        began = perf_counter()
        step()
        times.append(perf_counter() - began)
    return median(times) * 1000


if __name__ == "__main__":
    main()
