"""The file of a backup: whole or refused, and its key is opened by the passphrase alone."""

import hashlib
import io
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from certferry.cluster.backup_file import (
    LARGEST_HEADER,
    MAGIC,
    BackupDamagedError,
    BackupError,
    BackupExistsError,
    BackupForeignError,
    BackupHeader,
    BackupPassphraseError,
    BackupReader,
    BackupWriter,
    fingerprint,
    new_file,
    unwrap,
    wrap,
)

pytestmark = pytest.mark.slow

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
PASSPHRASE = "correct horse battery"
HEADER = BackupHeader(
    "tokyo", "12.5", 2, "2026-06-01T12:00:00+00:00", "0.1.0", "host", "/srv/seal.key", fingerprint(KEY)
)
LINES = [{"table": "node", "columns": ["name", "key"]}, {"rows": [["pub", b"\x00\xff"], [None, True]]}, {"digests": {}}]
Open = Callable[[bytes], BackupReader]


@pytest.fixture
def written() -> bytes:
    file = io.BytesIO()
    writer = BackupWriter(file, HEADER, KEY)
    for line in LINES:
        writer.line(line)
    writer.end()
    return file.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as opened:

        def read(data: bytes) -> BackupReader:
            opened.close()  # one is read at a time
            (tmp_path / "backup").write_bytes(data)
            return BackupReader(opened.enter_context((tmp_path / "backup").open("rb", buffering=0)), "backup")

        yield read


def sealed_anew(data: bytes) -> bytes:
    """Put the right SHA-256 behind what was altered, as who alters on purpose would."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


class TestReading:
    """What is read back, and what is refused."""

    def test_what_was_written_is_read_with_its_bytes(self, written: bytes, read: Open) -> None:
        reader = read(written)
        reader.check_authentic(KEY)
        assert reader.header == HEADER
        assert list(reader.lines()) == LINES

    def test_a_file_cut_short_anywhere_is_refused(self, written: bytes, read: Open) -> None:
        for length in range(len(written)):
            with pytest.raises((BackupDamagedError, BackupForeignError)):
                read(written[:length])

    def test_a_byte_changed_anywhere_is_refused(self, written: bytes, read: Open) -> None:
        for place in range(len(written)):
            altered = bytearray(written)
            altered[place] ^= 0x01
            with pytest.raises((BackupDamagedError, BackupForeignError)):
                read(bytes(altered))

    def test_what_is_altered_on_purpose_is_refused_as_well(self, written: bytes, read: Open) -> None:
        for place in range(len(MAGIC) + 6, len(written) - 32):
            altered = bytearray(written)
            altered[place] ^= 0x01
            try:
                reader = read(sealed_anew(bytes(altered)))
            except BackupForeignError:
                continue  # a header that is no JSON any more
            with pytest.raises(BackupDamagedError, match="altered after it was made"):
                reader.check_authentic(KEY)

    def test_who_has_another_key_cannot_make_one(self, written: bytes, read: Open) -> None:
        with pytest.raises(BackupDamagedError):
            read(written).check_authentic(OTHER_KEY)

    @pytest.mark.parametrize("data", [b"", b"PK\x03\x04", MAGIC[:-1], b"\x00" * 1000])
    def test_another_file_is_no_backup(self, read: Open, data: bytes) -> None:
        with pytest.raises(BackupForeignError, match="no backup"):
            read(data)

    @pytest.mark.parametrize("beginning", [b"\x00\x02\x00\x00\x00\x02{}", b"\x00\x01\xff\xff\xff\xff{}"])
    def test_a_later_format_or_an_endless_header_is_refused(self, read: Open, beginning: bytes) -> None:
        with pytest.raises(BackupForeignError, match="has format"):
            read(sealed_anew(MAGIC + beginning + bytes(64)))

    @pytest.mark.parametrize("header", [b"", b"[]", b"{}", b"{" * 1000, b'{"schema": 1}', b"\xff"])
    def test_a_header_that_says_something_else_is_refused(self, read: Open, header: bytes) -> None:
        assert len(header) < LARGEST_HEADER
        data = MAGIC + b"\x00\x01" + len(header).to_bytes(4) + header + bytes(64)
        with pytest.raises(BackupForeignError, match="header"):
            read(sealed_anew(data))


# --- the key


def test_the_key_is_opened_by_its_passphrase_alone() -> None:
    wrapped = wrap(KEY, PASSPHRASE)
    assert KEY.hex() not in wrapped
    assert unwrap(wrapped, PASSPHRASE) == KEY
    for wrong in ("", PASSPHRASE + " ", PASSPHRASE.upper()):
        with pytest.raises(BackupPassphraseError, match="does not open"):
            unwrap(wrapped, wrong)


def test_the_same_key_and_passphrase_never_look_the_same() -> None:
    assert wrap(KEY, PASSPHRASE) != wrap(KEY, PASSPHRASE)


@pytest.mark.parametrize("wrapped", ["", "zz", "00", "00" * 40])
def test_what_is_no_encrypted_key_is_opened_by_nothing(wrapped: str) -> None:
    with pytest.raises(BackupPassphraseError):
        unwrap(wrapped, PASSPHRASE)


def test_a_short_passphrase_is_refused_without_repeating_it() -> None:
    with pytest.raises(BackupPassphraseError) as refused:
        wrap(KEY, "swordfish")
    assert "swordfish" not in str(refused.value)


def test_the_name_of_a_key_tells_keys_apart_and_not_what_they_are() -> None:
    assert fingerprint(KEY) != fingerprint(OTHER_KEY)
    assert fingerprint(KEY) not in KEY.hex()
    assert len({fingerprint(KEY), hashlib.sha256(KEY).hexdigest()[:32]}) == 2


def test_the_header_tells_nothing_of_a_key_that_is_not_in_it() -> None:
    assert replace(HEADER, wrapped=wrap(KEY, PASSPHRASE)) != HEADER
    assert HEADER.wrapped == ""


# --- the file on the disk


def test_a_file_is_its_owners_alone_and_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    with new_file(tmp_path / "backup", replace=False) as file:
        file.write(b"whole")
        assert not (tmp_path / "backup").exists()
        assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o600]
    assert (tmp_path / "backup").read_bytes() == b"whole"
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]


def test_nothing_is_left_of_a_file_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with new_file(tmp_path / "backup", replace=False) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_an_earlier_backup_is_replaced_only_when_that_was_said(tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("earlier")
    with pytest.raises(BackupExistsError), new_file(tmp_path / "backup", replace=False):
        pass
    assert (tmp_path / "backup").read_text() == "earlier"
    with new_file(tmp_path / "backup", replace=True) as file:
        file.write(b"later")
    assert (tmp_path / "backup").read_text() == "later"


def test_a_folder_that_is_not_there_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file"), new_file(tmp_path / "no" / "backup", replace=False):
        pass
