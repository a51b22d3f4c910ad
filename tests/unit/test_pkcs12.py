"""PKCS#12 bundles: what is written, what is read, what is refused before it costs anything."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from certferry.errors import MalformedError, Refusal
from certferry.wire import pkcs12
from certferry.wire.pkcs12 import (
    Bundle,
    BundledCertificate,
    Pkcs12MalformedError,
    Pkcs12PasswordError,
    Pkcs12TooCostlyError,
    Pkcs12UnwritableError,
    Profile,
    parse,
)
from certferry.wire.pkcs12_outline import MAX_DEPTH, Outline
from conftest import MakeCertificate

PASSWORD = "s3cret"
BOTH = pytest.mark.parametrize("profile", list(Profile))


@pytest.fixture(scope="module")
def pair(make_certificate: MakeCertificate) -> Bundle:
    return Bundle(
        (
            BundledCertificate(make_certificate("CN=pub;O=Example"), "pub"),
            BundledCertificate(make_certificate("CN=sub-EC;O=Example", ec=True), "büro sub"),
        )
    )


def der(tag: int, *parts: bytes) -> bytes:
    """A DER element; the tests build hostile files from these."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def oid(hexadecimal: str) -> bytes:
    return der(0x06, bytes.fromhex(hexadecimal))


def integer(number: int) -> bytes:
    return der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


DATA, ENCRYPTED_DATA = oid("2a864886f70d010701"), oid("2a864886f70d010706")
RC2_40, PBES2, PBKDF2, SCRYPT = (
    oid("2a864886f70d010c0106"),
    oid("2a864886f70d01050d"),
    oid("2a864886f70d01050c"),
    oid("2b06010401da47040b"),
)
SHROUDED_KEY_BAG = oid("2a864886f70d010c0a0102")
SALT = der(0x04, b"saltsalt")


def pfx(*contents: bytes, mac: bytes = b"") -> bytes:
    safe = der(0x30, DATA, der(0xA0, der(0x04, der(0x30, *contents))))
    return der(0x30, integer(3), safe, mac)


def encrypted(algorithm: bytes) -> bytes:
    content = der(0x30, DATA, algorithm, der(0x80, bytes(16)))
    return der(0x30, ENCRYPTED_DATA, der(0xA0, der(0x30, integer(0), content)))


def mac_data(*rounds: bytes) -> bytes:
    digest = der(0x30, der(0x30, oid("2b0e03021a"), der(0x05)), der(0x04, bytes(20)))
    return der(0x30, digest, SALT, *rounds)


def pbkdf2(rounds: int) -> bytes:
    return der(0x30, PBES2, der(0x30, der(0x30, PBKDF2, der(0x30, SALT, integer(rounds)))))


class TestWhatIsWrittenIsReadAgain:
    @BOTH
    def test_certificates_names_and_order_survive(self, pair: Bundle, profile: Profile) -> None:
        assert parse(pair.encode(PASSWORD, profile), [PASSWORD]) == pair

    def test_the_modern_profile_is_the_default(self, pair: Bundle) -> None:
        sha256, sha1 = bytes.fromhex("608648016503040201"), bytes.fromhex("2b0e03021a")
        written = pair.encode(PASSWORD)
        assert sha256 in written
        assert sha1 not in written

    def test_the_legacy_profile_names_3des_and_sha1_and_nothing_newer(self, pair: Bundle) -> None:
        written = pair.encode(PASSWORD, Profile.LEGACY)
        assert bytes.fromhex("2a864886f70d010c0103") in written
        assert bytes.fromhex("2b0e03021a") in written
        assert bytes.fromhex("2a864886f70d0105") not in written

    def test_without_a_password_nothing_is_encrypted_but_a_mac_is_there(self, pair: Bundle) -> None:
        written = pair.encode(None)
        outline = Outline.parse(written)
        assert (outline.mac, outline.encrypted) == (True, False)
        assert parse(written) == pair

    @BOTH
    def test_few_rounds_are_spent_because_certificates_are_public(self, pair: Bundle, profile: Profile) -> None:
        assert Outline.parse(pair.encode(PASSWORD, profile)).rounds == 2 * 2_048

    def test_a_password_beyond_ascii_opens_its_file(self, pair: Bundle) -> None:
        assert parse(pair.encode("Prüf✓"), ["Prüf✓"]) == pair

    def test_a_password_may_not_be_seen_in_the_file(self, pair: Bundle) -> None:
        assert PASSWORD.encode() not in pair.encode(PASSWORD)

    def test_a_thousand_certificates_fit(self, pair: Bundle) -> None:
        many = Bundle(tuple(BundledCertificate(pair.certificates[0].certificate, f"node-{n}") for n in range(1000)))
        assert len(parse(many.encode(PASSWORD), [PASSWORD]).certificates) == 1000


class TestOldPlatforms:
    def test_ber_with_indefinite_lengths_is_read_without_a_warning(self, pair: Bundle) -> None:
        written = pair.encode(PASSWORD)
        assert written[:2] == b"\x30\x82"
        assert parse(b"\x30\x80" + written[4:] + b"\0\0", [PASSWORD]) == pair

    def test_a_certificate_with_a_negative_serial_is_read_without_a_warning(
        self, make_certificate: MakeCertificate
    ) -> None:
        certificate = make_certificate(serial=0x0102030405060708)
        written = Bundle((BundledCertificate(certificate, "old"),)).encode(None)
        content_end = written.index(b"\x30\x41\x30\x31\x30\x0d")  # the MAC goes, so that the content can be changed
        body = written[4:content_end].replace(bytes.fromhex("0102030405060708"), bytes.fromhex("ff02030405060708"))
        (entry,) = parse(b"\x30\x82" + len(body).to_bytes(2, "big") + body).certificates
        assert entry.certificate.serial == bytes.fromhex("fdfcfbfaf9f8f8")  # the magnitude of a negative number


class TestPasswords:
    def test_the_first_password_that_fits_opens_the_file(self, pair: Bundle) -> None:
        assert parse(pair.encode(PASSWORD), [None, "", "wrong", PASSWORD]) == pair

    @pytest.mark.parametrize("wrong", [[], [None], [""], ["wrong"], ["S3cret"], ["s3cret\0"], ["\ud800"]])
    def test_a_wrong_password_is_told_from_garbage(self, pair: Bundle, wrong: list[str | None]) -> None:
        with pytest.raises(Pkcs12PasswordError):
            parse(pair.encode(PASSWORD), wrong)

    def test_the_error_does_not_repeat_the_password(self, pair: Bundle) -> None:
        with pytest.raises(Pkcs12PasswordError) as caught:
            parse(pair.encode(PASSWORD), ["hunter2"])
        assert "hunter2" not in str(caught.value)

    def test_a_changed_byte_under_the_mac_is_noticed(self, pair: Bundle) -> None:
        damaged = bytearray(pair.encode(PASSWORD))
        damaged[200] ^= 1
        with pytest.raises(Pkcs12PasswordError, match="damaged"):
            parse(bytes(damaged), [PASSWORD])


class TestKeysBeside:
    def test_a_key_is_counted_and_its_certificate_kept(
        self, rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
    ) -> None:
        leaf, root = make_certificate("CN=leaf"), make_certificate("CN=root")
        data = serialize_key_and_certificates(
            b"leaf", rsa_key, leaf.x509, [root.x509], BestAvailableEncryption(PASSWORD.encode())
        )
        bundle = parse(data, [PASSWORD])
        assert [(e.certificate, e.friendly_name) for e in bundle.certificates] == [(leaf, "leaf"), (root, "")]
        assert bundle.keys_ignored == 1

    def test_a_key_in_the_clear_is_counted_too(
        self, rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
    ) -> None:
        data = serialize_key_and_certificates(b"k", rsa_key, make_certificate().x509, None, NoEncryption())
        assert parse(data).keys_ignored == 1

    def test_no_field_of_a_bundle_holds_the_key(
        self, rsa_key: rsa.RSAPrivateKey, make_certificate: MakeCertificate
    ) -> None:
        data = serialize_key_and_certificates(b"k", rsa_key, make_certificate().x509, None, NoEncryption())
        assert str(rsa_key.private_numbers().p) not in repr(parse(data))
        again = Bundle((BundledCertificate(make_certificate(), "k"),)).encode(None)
        assert Outline.parse(again).keys == 0

    def test_key_bags_outside_encrypted_content_are_all_counted(self) -> None:
        bag = der(0x30, SHROUDED_KEY_BAG, der(0xA0, der(0x30, der(0x30, RC2_40, der(0x30, SALT, integer(9))), SALT)))
        safe = der(0x30, DATA, der(0xA0, der(0x04, der(0x30, bag, bag, bag))))
        assert Outline.parse(pfx(safe)) == Outline(mac=False, encrypted=True, keys=3, rounds=27)


class TestWhatCannotBeWritten:
    def test_names_that_differ_in_case_only_are_one_name_for_java(self, make_certificate: MakeCertificate) -> None:
        twins = tuple(BundledCertificate(make_certificate(), name) for name in ("Pub", "pub"))
        with pytest.raises(Pkcs12UnwritableError, match="two certificates are called 'pub'"):
            Bundle(twins).encode(PASSWORD)

    @pytest.mark.parametrize("name", ["", "a\0b", "line\nbreak", "\U0001f4de phone"])
    def test_a_name_that_a_reader_would_lose_is_refused(self, make_certificate: MakeCertificate, name: str) -> None:
        with pytest.raises(Pkcs12UnwritableError):
            Bundle((BundledCertificate(make_certificate(), name),)).encode(PASSWORD)

    def test_a_bundle_without_certificates_is_refused(self) -> None:
        with pytest.raises(Pkcs12UnwritableError):
            Bundle(()).encode(PASSWORD)

    @pytest.mark.parametrize("password", ["", "a\0b"])
    def test_a_password_that_nothing_could_open_is_refused(self, pair: Bundle, password: str) -> None:
        with pytest.raises(Pkcs12UnwritableError):
            pair.encode(password)


class TestHostileFiles:
    @pytest.mark.parametrize(
        "data",
        [b"", b"0", b"\x30\x80", b"\x30\x03\x02\x01\x03", b"PK\x03\x04", b"-----BEGIN CERTIFICATE-----", bytes(64)],
    )
    def test_garbage_is_malformed_whatever_the_password(self, data: bytes) -> None:
        with pytest.raises(Pkcs12MalformedError):
            parse(data, [PASSWORD])

    def test_a_truncated_file_names_the_offset(self, pair: Bundle) -> None:
        with pytest.raises(Pkcs12MalformedError, match=r"leads beyond byte 500, at offset 0 of the file"):
            parse(pair.encode(PASSWORD)[:500], [PASSWORD])

    def test_bytes_behind_the_end_are_refused(self, pair: Bundle) -> None:
        with pytest.raises(Pkcs12MalformedError, match="after the end"):
            parse(pair.encode(PASSWORD) + b"\n", [PASSWORD])

    def test_an_oversize_file_is_not_looked_at(self) -> None:
        with pytest.raises(Pkcs12TooCostlyError, match="16777217 bytes"):
            parse(bytes(pkcs12.MAX_SIZE + 1), [PASSWORD])

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(pfx(encrypted(der(0x30, RC2_40, der(0x30, SALT, integer(2**31 - 1))))), id="PBE"),
            pytest.param(pfx(encrypted(pbkdf2(2**31 - 1))), id="PBKDF2"),
            pytest.param(pfx(*[encrypted(pbkdf2(100_000))] * 51), id="many small ones"),
            pytest.param(pfx(mac=mac_data(integer(2**31 - 1))), id="MAC"),
            pytest.param(
                pfx(encrypted(der(0x30, SCRYPT, der(0x30, SALT, integer(2**20), integer(8), integer(1))))), id="scrypt"
            ),
        ],
    )
    def test_absurd_rounds_are_refused_before_they_are_run(self, data: bytes) -> None:
        with pytest.raises(Pkcs12TooCostlyError, match="rounds"):
            parse(data, [PASSWORD])

    def test_rounds_hidden_by_indefinite_lengths_and_strings_in_pieces_are_found(self) -> None:
        inner = der(0x30, encrypted(pbkdf2(77_000_000)))
        pieces = b"\x24\x80" + der(0x04, inner[:10]) + der(0x04, inner[10:]) + b"\0\0"
        safe = b"\x30\x80" + DATA + b"\xa0\x80" + pieces + b"\0\0\0\0"
        with pytest.raises(Pkcs12TooCostlyError, match="77000000"):
            parse(b"\x30\x80" + integer(3) + safe + b"\0\0", [PASSWORD])

    @pytest.mark.parametrize("size", [9, 3_000, 1_000_000])
    def test_a_number_beyond_all_bounds_is_refused_like_any_other_and_costs_nothing(self, size: int) -> None:
        endless = der(0x02, b"\x7f" * size)
        work = der(0x30, SCRYPT, der(0x30, SALT, endless, endless, endless))
        for data in (pfx(mac=mac_data(endless)), pfx(encrypted(work))):
            with pytest.raises(Pkcs12TooCostlyError, match="rounds"):
                parse(data, ["x"])

    def test_zeros_before_a_number_do_not_make_it_large(self) -> None:
        assert Outline.parse(pfx(mac=mac_data(der(0x02, bytes(50) + b"\x07")))).rounds == 7

    def test_a_mac_that_states_no_rounds_counts_one(self) -> None:
        assert Outline.parse(pfx(mac=mac_data())).rounds == 1

    def test_bottomless_nesting_is_refused(self) -> None:
        data = der(0x30)
        for _ in range(MAX_DEPTH):
            data = der(0x30, data)
        with pytest.raises(Pkcs12MalformedError, match="too deeply"):
            Outline.parse(pfx(data))

    def test_a_flood_of_elements_is_refused(self) -> None:
        with pytest.raises(Pkcs12MalformedError, match="too many elements"):
            Outline.parse(pfx(b"\x05\0" * 400_001))

    def test_an_indefinite_length_without_end_is_refused(self) -> None:
        with pytest.raises(Pkcs12MalformedError, match="without its end"):
            Outline.parse(b"\x30\x80" + integer(3))

    def test_a_certificate_that_phones_cannot_use_names_itself(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "odd")])
        start = datetime(2026, 1, 1, tzinfo=UTC)
        odd = x509.CertificateBuilder(name, name, key.public_key(), 5, start, start.replace(year=2030)).sign(key, None)
        data = serialize_key_and_certificates(b"odd one", None, odd, None, NoEncryption())
        with pytest.raises(Pkcs12MalformedError, match="odd one"):
            parse(data)


def test_every_refusal_has_a_code_of_its_own_and_the_codec_s_root() -> None:
    errors = [Pkcs12MalformedError, Pkcs12PasswordError, Pkcs12TooCostlyError, Pkcs12UnwritableError]
    assert len({error.code for error in errors}) == 4
    assert all(issubclass(error, MalformedError) for error in errors[:3])
    assert issubclass(Pkcs12UnwritableError, Refusal)
