"""The serial, taken out of a certificate without reading the rest."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certferry.wire.certificate import Certificate, CertificateMalformedError, serial_of
from conftest import MakeCertificate


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, 0xFF, 0x1_0000, 2**64, 2**127 - 1, 2**159 - 1])
def test_it_is_the_serial_that_reading_all_gives(make_certificate: MakeCertificate, serial: int) -> None:
    certificate = make_certificate("CN=pub", serial=serial)
    assert serial_of(certificate.der) == certificate.serial == serial.to_bytes((serial.bit_length() + 7) // 8)


def test_a_certificate_of_version_1_has_no_version_before_its_serial(make_certificate: MakeCertificate) -> None:
    der = make_certificate("CN=pub", serial=0x1234).der
    version = b"\xa0\x03\x02\x01\x02"
    begin = der.index(version)
    # Not signed, and lengths stay as they were: as far as is looked at, this is version 1.
    assert serial_of(der[:begin] + der[begin + len(version) :] + bytes(len(version))) == b"\x12\x34"


def test_a_negative_serial_counts_by_its_magnitude(make_certificate: MakeCertificate) -> None:
    der = make_certificate("CN=pub", serial=0x0123).der
    negative = der.replace(b"\x02\x02\x01\x23", b"\x02\x02\xff\x23", 1)
    assert serial_of(negative) == b"\xdd"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 10, 100])
def test_what_is_cut_off_is_malformed(make_certificate: MakeCertificate, size: int) -> None:
    with pytest.raises(CertificateMalformedError, match="not a certificate"):
        serial_of(make_certificate("CN=pub").der[:size])


@given(st.binary(max_size=64) | st.binary(max_size=32).map(lambda tail: b"\x30\x82\x01\x00\x30" + tail))
def test_arbitrary_bytes_give_a_serial_or_are_malformed(data: bytes) -> None:
    with contextlib.suppress(CertificateMalformedError):
        assert isinstance(serial_of(data), bytes)


def test_a_serial_of_zero_has_no_bytes(make_certificate: MakeCertificate) -> None:
    der = make_certificate("CN=pub", serial=0x7D).der
    zero = der.replace(b"\x02\x01\x7d", b"\x02\x01\x00", 1)
    assert serial_of(zero) == b"" == Certificate.parse(zero).serial.lstrip(b"\0")
