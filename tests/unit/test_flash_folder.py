"""Where resident phones keep their flash: whole sets of files, replaced in one step."""

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from certferry.fleet.flash_folder import FlashFolder, FlashFolderError
from certferry.phone.flash import Flash

NAME = "SEP001122334455"
FULL = Flash(b"ctl", b"itl", b"<device/>", config_signed=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[FlashFolder]:
    with closing(FlashFolder(tmp_path / "phones")) as made:
        yield made


def test_a_phone_that_was_never_seen_holds_nothing(folder: FlashFolder) -> None:
    assert folder.load(NAME) == Flash()


@pytest.mark.parametrize(
    "flash", [FULL, Flash(), Flash(None, b"itl", b"<device/>"), Flash(b"ctl", None, None, config_signed=False)]
)
def test_what_was_kept_is_there_after_a_restart(tmp_path: Path, flash: Flash) -> None:
    with closing(FlashFolder(tmp_path)) as before:
        before.save(NAME, FULL)
        before.save(NAME, flash)
    with closing(FlashFolder(tmp_path)) as after:
        assert after.load(NAME) == flash


def test_the_files_are_named_as_on_the_phone_and_old_ones_are_gone(folder: FlashFolder, tmp_path: Path) -> None:
    for _ in range(3):
        folder.save(NAME, FULL)
    place = tmp_path / "phones"
    assert sorted(path.name for path in (place / NAME).iterdir()) == [
        "CTLFile.tlv", "ITLFile.tlv", f"{NAME}.cnf.xml", "config-signed",
    ]  # fmt: skip
    assert sorted(path.name for path in place.iterdir()) == [".SEP001122334455.3", ".lock", NAME]


def test_phones_do_not_disturb_each_other(folder: FlashFolder) -> None:
    folder.save("SEP000000000001", FULL)
    folder.save("SEP000000000002", Flash(itl=b"other"))
    assert (folder.load("SEP000000000001"), folder.load("SEP000000000002")) == (FULL, Flash(itl=b"other"))


@pytest.mark.parametrize("killed_at", ["mkdir", "write_bytes", "symlink_to", "replace"])
def test_whoever_is_killed_in_between_leaves_all_of_the_old_set(
    folder: FlashFolder, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def kill(*_args: object, **_options: object) -> None:
        raise KilledError

    folder.save(NAME, FULL)
    with monkeypatch.context() as patch:
        patch.setattr(os if killed_at == "replace" else Path, killed_at, kill)
        with pytest.raises(KilledError):
            folder.save(NAME, Flash(itl=b"new"))
    assert folder.load(NAME) == FULL
    folder.save(NAME, Flash(itl=b"new"))  # what the killed one left is in nobody's way
    assert folder.load(NAME) == Flash(itl=b"new")


def test_one_fleet_has_a_folder_at_a_time(tmp_path: Path) -> None:
    with closing(FlashFolder(tmp_path)), pytest.raises(FlashFolderError, match="in use by another fleet"):
        FlashFolder(tmp_path)
    FlashFolder(tmp_path).close()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FlashFolderError):
        FlashFolder(tmp_path / "file" / "phones")


def test_a_phone_whose_place_is_a_file_is_refused(folder: FlashFolder, tmp_path: Path) -> None:
    (tmp_path / "phones" / NAME).write_text("")
    with pytest.raises(FlashFolderError):
        folder.load(NAME)
    (tmp_path / "phones" / NAME).unlink()
    (tmp_path / "phones" / NAME).mkdir()
    with pytest.raises(FlashFolderError):
        folder.save(NAME, FULL)


@pytest.mark.parametrize("target", ["elsewhere", "../elsewhere", f".{NAME}.seven", ".SEP000000000000.1", f".{NAME}.-1"])
def test_a_link_that_the_fleet_did_not_make_is_refused_and_left_alone(
    folder: FlashFolder, tmp_path: Path, target: str
) -> None:
    link = tmp_path / "phones" / NAME
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "CTLFile.tlv").write_bytes(b"of somebody else")
    link.symlink_to(target)
    for use in (lambda: folder.load(NAME), lambda: folder.save(NAME, FULL)):
        with pytest.raises(
            FlashFolderError, match=f"{NAME} leads to {re.escape(target)}, which no fleet made"
        ) as refused:
            use()
    assert "Take the link away" in refused.value.remedy
    assert str(link.readlink()) == target
    assert (tmp_path / "elsewhere" / "CTLFile.tlv").read_bytes() == b"of somebody else"
