"""The files of one TFTP node: trust lists and phone configurations, signed ahead and found by name in a dictionary.

Names are those phones ask for (phone-trust 4.1): ``CTLSEP<MAC>.tlv`` and ``ITLSEP<MAC>.tlv`` only for phones the
cluster knows, ``CTLFile.tlv`` and ``ITLFile.tlv`` for everybody, ``SEP<MAC>.cnf.xml`` plain and, as ``.sgn``, signed.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

from certferry.serve.snapshot import Credentials, Snapshot
from certferry.trust.purpose import Purpose
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.signed_file import sign_file

_SIGN_AT_ONCE = 64


class FileLibrary:
    """What one TFTP node serves. ``rebuild`` makes the files anew and swaps them in whole."""

    def __init__(self) -> None:
        self._files: Mapping[str, bytes] = {}
        self._signed: dict[tuple[str, bytes, str], bytes] = {}

    def find(self, name: str) -> bytes | None:
        """Return the file called ``name``, in any letter case, or None."""
        return self._files.get(name.lower())

    def __len__(self) -> int:
        return len(self._files)

    def rebuild(self, node: str, snapshot: Snapshot, timestamp: int) -> None:
        """Take over a snapshot. A configuration whose content and signer stay the same keeps its signed bytes."""
        signer = snapshot.credentials[node, Purpose.CALLMANAGER]
        files: dict[str, bytes] = dict(_trust_lists(node, snapshot))
        signed = self._sign_all(snapshot, signer, timestamp)
        for config, (key, data) in zip(snapshot.configs, signed.items(), strict=True):
            files[f"{config.device}.cnf.xml".lower()] = key[1]
            files[f"{config.device}.cnf.xml.sgn".lower()] = data
        self._signed = signed
        self._files = files

    def _sign_all(self, snapshot: Snapshot, signer: Credentials, timestamp: int) -> dict[tuple[str, bytes, str], bytes]:
        mark = f"{signer.certificate.sha256} {snapshot.digest}"
        key = signer.rsa_key

        def sign(config: PhoneConfig) -> tuple[tuple[str, bytes, str], bytes]:
            name, payload = f"{config.device}.cnf.xml", config.encode()
            known = (name, payload, mark)
            data = self._signed.get(known) or sign_file(
                name, payload, signer.certificate, key, digest=snapshot.digest, timestamp=timestamp
            )
            return known, data

        # RSA releases the interpreter lock, so all cores sign.
        with ThreadPoolExecutor(cpu_count()) as pool:
            return dict(pool.map(sign, snapshot.configs, chunksize=_SIGN_AT_ONCE))


def _trust_lists(node: str, snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    for kind, data in (("ctl", snapshot.ctl), ("itl", snapshot.itl.get(node))):
        if data is not None:
            yield f"{kind}file.tlv", data
            yield from ((f"{kind}{device.lower()}.tlv", data) for device in snapshot.phones)
