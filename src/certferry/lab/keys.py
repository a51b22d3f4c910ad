"""Keys made beforehand and handed out again: generating thousands would be most of a lab's time.

Certificates of one cluster never share a key; clusters of one lab may not either. Only labs that are thrown away
and made again (tests, release matrices) draw from one pool.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from os import cpu_count
from threading import Lock

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certferry.cluster.issuing import FreshKeys


class PooledKeys:
    """A ``KeySource`` over a fixed number of keys, handed out in turn. Make the pool larger than one cluster needs."""

    def __init__(self, size: int) -> None:
        fresh = FreshKeys()
        with ThreadPoolExecutor(cpu_count()) as pool:
            self._rsa = cycle(list(pool.map(lambda _: fresh.rsa(2048), range(size))))
        self._ec = cycle([fresh.ec() for _ in range(size)])
        self._lock = Lock()

    def rsa(self, bits: int) -> rsa.RSAPrivateKey:
        """Hand out the next RSA key; of another size than 2048 bit it is made fresh."""
        if bits != 2048:  # noqa: PLR2004 -- the size of the pool's keys
            return FreshKeys().rsa(bits)
        with self._lock:
            return next(self._rsa)

    def ec(self) -> ec.EllipticCurvePrivateKey:
        """Hand out the next EC key."""
        with self._lock:
            return next(self._ec)
