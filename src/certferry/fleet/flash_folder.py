"""Where resident phones keep their flash while they are switched off: a folder for each phone, replaced as a whole.

::

    DIR/SEP001122334455        a link to the newest of
    DIR/.SEP001122334455.7     CTLFile.tlv, ITLFile.tlv, SEP001122334455.cnf.xml, config-signed

The files are named as phones name theirs (phone-trust 4.1); what a phone does not hold is not there. ``config-signed``
is empty and there when the configuration came with a signature that the phone verified.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from certferry.errors import Refusal
from certferry.phone.flash import Flash

_CTL, _ITL, _SIGNED = "CTLFile.tlv", "ITLFile.tlv", "config-signed"


class FlashFolderError(Refusal):
    """The folder of the phones' flash cannot be used."""

    code = "fleet.flash-folder"
    remedy = "Name a folder of your own that can be written; one fleet has it at a time."


class FlashFolder:
    """Flash of many phones in ``folder``, which is made when it is missing; raises ``FlashFolderError``.

    The folder is locked until ``close``, or the end of the process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder / ".lock")
        except BlockingIOError as error:
            raise FlashFolderError(f"{folder} is in use by another fleet") from error
        except OSError as error:
            raise FlashFolderError(f"{folder} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Let another fleet have the folder."""
        self._lock.close()

    def load(self, device: str) -> Flash:
        """Return what ``device`` holds; an empty flash for one that was never seen."""
        place = self._folder / device
        self._newest(device)
        return Flash(
            _read(place / _CTL), _read(place / _ITL), _read(place / _config(device)), (place / _SIGNED).exists()
        )

    def save(self, device: str, flash: Flash) -> None:
        """Keep ``flash``: whoever is killed whenever, all of it is there afterwards, or all of what was before."""
        try:
            self._replace(device, _files(device, flash))
        except OSError as error:
            raise FlashFolderError(f"the flash of {device} cannot be written: {error.strerror}") from error

    def _replace(self, device: str, files: Mapping[str, bytes]) -> None:
        link, number = self._folder / device, self._newest(device)
        old, new = f".{device}.{number}", f".{device}.{number + 1}"
        shutil.rmtree(self._folder / new, ignore_errors=True)  # of one that was killed here
        (self._folder / new).mkdir()
        for name, data in files.items():
            (self._folder / new / name).write_bytes(data)
        fresh = self._folder / f"{new}.link"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(new)
        os.replace(fresh, link)  # noqa: PTH105 -- of a link, which Path.replace would say less plainly
        shutil.rmtree(self._folder / old, ignore_errors=True)

    def _newest(self, device: str) -> int:
        """Return the number of the set that the link names, 0 without a link; raises ``FlashFolderError``."""
        link = self._folder / device
        if not link.is_symlink():
            return 0
        target = str(link.readlink())
        found = re.fullmatch(rf"\.{re.escape(device)}\.([0-9]{{1,18}})", target)
        if found is None:
            told = f"{link} leads to {target}, which no fleet made"
            raise FlashFolderError(told, remedy="Take the link away, or name a folder of your own.")
        return int(found[1])


def _locked(path: Path) -> TextIO:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _files(device: str, flash: Flash) -> dict[str, bytes]:
    held = {
        _CTL: flash.ctl,
        _ITL: flash.itl,
        _config(device): flash.config,
        _SIGNED: b"" if flash.config_signed else None,
    }
    return {name: data for name, data in held.items() if data is not None}


def _config(device: str) -> str:
    return f"{device}.cnf.xml"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FlashFolderError(f"{path} cannot be read: {error.strerror}") from error
