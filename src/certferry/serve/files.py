"""The files of one TFTP node: trust lists and phone configurations, found by name.

Names are those phones ask for (phone-trust 4.1): ``CTLSEP<MAC>.tlv`` and ``ITLSEP<MAC>.tlv`` only for phones the
cluster knows, ``CTLFile.tlv`` and ``ITLFile.tlv`` for everybody, ``SEP<MAC>.cnf.xml`` plain and, as ``.sgn``, signed;
``XMLDefault.cnf.xml``, plain and signed, for phones that the cluster does not know.

A configuration is signed once, when it is first asked for or, in the background, before that; a node serves as soon as
it knows who its phones are. A change keeps every signed file whose content and signer stay the same.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from random import sample

from certferry.errors import Refusal
from certferry.serve.signatures import Signatures, Signer
from certferry.serve.snapshot import Snapshot
from certferry.trust.purpose import Purpose
from certferry.wire.default_config import DEFAULT_NAME
from certferry.wire.phone_config import PhoneConfig
from certferry.wire.signed_file import SUFFIX

logger = logging.getLogger(__name__)

_PLAIN, _SIGNED, _LIST = ".cnf.xml", ".cnf.xml.sgn", ".tlv"
SIGNING = "certferry-signing"
"""The name of the threads that sign ahead."""
_POLITENESS = 10
_DEFAULT = DEFAULT_NAME.lower()
_SOMEONE = "SEP-SOMEONE-S-DEVICE"
"""Stands for the device while what phones have in common is written."""


class FileLibrary:
    """What one TFTP node serves. ``rebuild`` takes a snapshot over whole; ``sign_ahead`` then signs what is left."""

    def __init__(self, signatures: Signatures | None = None) -> None:
        self._signatures = signatures or Signatures()
        self._edition = _Edition({}, {}, None, None)
        self._is_closed = False

    def find(self, name: str) -> bytes | None:
        """Return the file called ``name``, in any letter case, or None; signs it when that was not done yet."""
        edition = self._edition
        name = name.lower()
        return edition.signed.get(name) or edition.make(name)

    def __len__(self) -> int:
        edition = self._edition
        configs = len(edition.configs) + (edition.default is not None)
        return len(edition.lists) * (1 + len(edition.configs)) + 2 * configs

    @property
    def unsigned(self) -> int:
        """How many configurations are still to be signed."""
        return len(self._edition.configs) - len(self._edition.signed)

    def rebuild(self, node: str, snapshot: Snapshot, timestamp: int) -> None:
        """Take over a snapshot. A configuration whose content and signer stay the same keeps its signed bytes."""
        credentials = snapshot.credentials[node, Purpose.CALLMANAGER]
        self._signatures.open()
        signer = Signer(credentials.certificate, credentials.rsa_key, snapshot.digest, timestamp, self._signatures)
        lists = {kind: data for kind, data in (("ctl", snapshot.ctl), ("itl", snapshot.itl.get(node))) if data}
        edition = _Edition(lists, snapshot.configs, snapshot.default_config, signer)
        edition.keep_from(self._edition)
        self._edition = edition

    def sign_ahead(self) -> None:
        """Sign all that is left, in threads that yield to whatever else there is to do, until ``close`` or a change.

        RSA releases the interpreter lock, so all cores sign. Several processes begin at different places, and take
        over what another has signed.
        """
        edition = self._edition
        left = [device for device in edition.configs if device + _SIGNED not in edition.signed]
        waiting = iter(sample(left, len(left)))
        for _ in range(min(os.cpu_count() or 1, len(left))):
            threading.Thread(target=self._sign_some, args=(edition, waiting), name=SIGNING, daemon=True).start()

    def close(self) -> None:
        """Sign no more ahead."""
        self._is_closed = True

    def _sign_some(self, edition: "_Edition", waiting: Iterator[str]) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _POLITENESS)
        for device in waiting:
            if self._is_closed or self._edition is not edition:
                return
            edition.make(device + _SIGNED)


class _Edition:
    """What is served from one snapshot: ``signed`` files by name, and what the others are made of when asked for."""

    def __init__(
        self,
        lists: Mapping[str, bytes],
        configs: Mapping[str, PhoneConfig],
        default: bytes | None,
        signer: Signer | None,
    ) -> None:
        self.lists = lists
        self.configs = configs
        self.default = default
        self.signer = signer
        self.signed: dict[str, bytes] = {}
        self._forms: dict[PhoneConfig, list[bytes]] = {}

    def keep_from(self, other: "_Edition") -> None:
        """Take over the signed files of another edition whose content and signer are the same."""
        if self.signer is None or other.signer is None or self.signer.mark != other.signer.mark:
            return
        if self.configs is other.configs:
            self.signed = other.signed.copy()
            return
        for name, data in list(other.signed.items()):
            device = name.removesuffix(_SIGNED)
            if self.configs.get(device) == other.configs[device]:
                self.signed[name] = data

    def make(self, name: str) -> bytes | None:
        """Make the file called ``name``, in lower case, or return None: there is none, or none can be made."""
        try:
            return self._made(name)
        except Refusal:
            logger.exception("%s is not served", name)
            return None

    def _made(self, name: str) -> bytes | None:
        if name in (_DEFAULT, _DEFAULT + SUFFIX):
            return self._default(signed=name != _DEFAULT)
        if name.endswith(_LIST):
            return self._list(name[:3], name[3 : -len(_LIST)])
        if name.endswith(_SIGNED):
            return self._sign(name)
        if name.endswith(_PLAIN) and (config := self.configs.get(name.removesuffix(_PLAIN))):
            return self._written(config)
        return None

    def _list(self, kind: str, whose: str) -> bytes | None:
        return self.lists.get(kind) if whose == "file" or whose in self.configs else None

    def _default(self, *, signed: bool) -> bytes | None:
        """Make the file for phones that the cluster does not know; its signature is kept like all others."""
        if not signed or self.default is None:
            return self.default
        return self.signer.sign(DEFAULT_NAME, self.default) if self.signer else None

    def _sign(self, name: str) -> bytes | None:
        config = self.configs.get(name.removesuffix(_SIGNED))
        if config is None or self.signer is None:
            return None
        data = self.signed[name] = self.signer.sign(config.device + _PLAIN, self._written(config))
        return data

    def _written(self, config: PhoneConfig) -> bytes:
        """Write a configuration; that of most phones differs from others in nothing but the device's name."""
        if not config.device.isalnum():
            return config.encode()
        common = replace(config, device=_SOMEONE)
        form = self._forms.get(common)
        if form is None:
            form = self._forms[common] = common.encode().split(_SOMEONE.encode())
        return config.device.encode().join(form)
