"""Valid messages, spoiled as somebody hostile would: lengths, repetitions, odd characters; read, or refused."""

import random
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certferry.errors import MalformedError
from certferry.wire import dhcp, http_request, listing, pkcs12, signed_header, sip, sip_requests, tftp, tvs
from certferry.wire.certificate import Certificate, serial_of
from certferry.wire.encrypted_file import EncryptedFile, encrypt_file
from certferry.wire.phone_alarm import DeviceTLInfo
from certferry.wire.phone_config import CallManagerMember, PhoneConfig, TvsMember
from certferry.wire.phone_dhcp import phone_discover
from certferry.wire.signed_file import SignedFile, sign_file
from certferry.wire.trust_list import TrustList, TrustRecord, build_trust_list
from conftest import MakeCertificate

DEVICE, NODE = "SEP001122334455", "10.0.0.1"
ODD = [
    b"\0", b"\xff", b"\r\n", b"\r\n ", b"\x1b[2J", "\u202e".encode(), b"\xed\xa0\x80", b"%00", b"9" * 30, b"9" * 5000,
    b"-1", b"A" * 70_000, b"\x30\x80", b"\x24\x80", b"\x84\xff\xff\xff\xff", b"\0\0", b"=", b";", b",", b"<", b"&x;",
]  # fmt: skip
Samples = Mapping[str, bytes]


def read_sip(data: bytes) -> None:
    sip.frame_length(data)
    message = sip.SipMessage.parse(data)
    sip.Response.to(message, 200, tag="x", expires=3).encode()
    if message.start.startswith("REGISTER"):
        sip.Register.of_message(message).encode()
    else:
        DeviceTLInfo.parse(sip_requests.Refer.of_message(message).alarm).encode()


def read_certificate(data: bytes) -> None:
    read = Certificate.parse(data)
    assert serial_of(data) == read.serial.lstrip(b"\0")
    assert Certificate.from_pem(read.pem) == read
    assert "\0" not in (read.subject + read.issuer + read.common_name).encode().decode()


def read_http(data: bytes) -> None:
    parser = http_request.RequestParser()
    parser.feed(data)
    while request := parser.next_request():
        request.encode()


def read_dhcp(data: bytes) -> None:
    message = dhcp.DhcpMessage.parse(data)
    message.encode()
    for ask in ("message_type", "server", "routers", "tftp_addresses", "tftp_name", "class_identifier"):
        getattr(message, ask)


READERS: dict[str, Callable[[bytes], object]] = {
    "trust list": lambda data: TrustList.parse(data).encode(),
    "signature": lambda data: signed_header.verify_with_key(data, signed_header.signed_bytes(data)[-270:]),
    "listing": lambda data: listing.listing(data, "CTL", verified=False, local_time_text="").encode(),
    "signed file": lambda data: SignedFile.parse(data).payload,
    "encrypted file": EncryptedFile.parse,
    "certificate": read_certificate,
    "register": read_sip,
    "refer": read_sip,
    "alarm": lambda data: DeviceTLInfo.parse(data).encode(),
    "configuration": lambda data: PhoneConfig.parse(data).encode(),
    "bundle": lambda data: pkcs12.parse(data, ["secret"]),
    "dhcp": read_dhcp,
    "tftp": lambda data: tftp.parse(data).encode(),
    "http": read_http,
    "tvs": lambda data: tvs.parse_message(data).encode(),
}


@pytest.fixture(scope="module")
def samples(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Samples:
    own = make_certificate("CN=pub;O=Example", key=rsa_key)
    records = [TrustRecord.of_certificate(own, role, "pub", NODE) for role in (0, 1, 4)]
    trust_list = build_trust_list("CTL", records, own, rsa_key, timestamp=1)
    alarm = DeviceTLInfo(DEVICE, "10.0.0.9", "AB" * 20, "pub", "CD" * 20, "pub", 3).encode()
    plain = PhoneConfig(DEVICE, (CallManagerMember("pub", NODE, 5060, 5061),), (TvsMember(0, NODE, 2445),)).encode()
    register = sip.Register.of(DEVICE, NODE, local="10.0.0.9:50000", call_id="1@x", tag="a")
    refer = sip_requests.Refer.of(DEVICE, NODE, local="10.0.0.9:50000", call_id="1@x", tag="a", alarm=alarm)
    folded = register.encode().replace(b"Contact: ", b"m:\r\n ").replace(b"Via:", b"v:")
    return {
        "trust list": trust_list,
        "signature": trust_list,
        "listing": trust_list,
        "signed file": sign_file("x.cnf.xml", plain, own, rsa_key, timestamp=1),
        "encrypted file": encrypt_file(
            "x.cnf.xml", plain, own, rsa_key, own, aes_key=bytes(16), iv=bytes(16), timestamp=1
        ),
        "certificate": own.der,
        "register": folded,
        "refer": refer.encode(),
        "alarm": alarm,
        "configuration": plain,
        "bundle": pkcs12.Bundle((pkcs12.BundledCertificate(own, "pub"),)).encode("secret"),
        "dhcp": phone_discover(1, b"123456").encode(),
        "tftp": tftp.ReadRequest("x", "octet", tftp.Options(512, 1, 0)).encode(),
        "http": b"GET /x%20y?z HTTP/1.1\r\nHost: pub\r\nConnection: close\r\n\r\n",
        "tvs": tvs.CertificateQueryRequest(1, DEVICE, "CN=a", "CN=b", b"\1\2").encode(),
    }


def spoiled(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes, lengths above all, near the front above all: that is where headers are."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.choice((chance.randrange(len(broken) + 1), chance.randrange(min(len(broken), 300) + 1)))
        match chance.randrange(7):
            case 0:
                broken[at : at + 1] = chance.randbytes(1)
            case 1:
                broken[at:at] = chance.choice(ODD)
            case 2:
                broken[at : at + chance.randrange(1, 6)] = chance.choice(ODD)
            case 3:
                del broken[at : at + chance.randrange(1, 20)]
            case 4:
                broken[at : at + 2] = chance.randrange(0x10000).to_bytes(2)
            case 5:
                other = chance.randrange(len(broken) + 1)
                broken[at:at] = broken[other : other + chance.randrange(1, 200)]
            case _:
                del broken[at:]
    return bytes(broken)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("kind", READERS)
def test_what_was_spoiled_is_read_or_refused(samples: Samples, kind: str, seed: int) -> None:
    data = spoiled(samples[kind], random.Random(seed))
    with suppress(MalformedError):
        READERS[kind](data)


@pytest.mark.parametrize("kind", READERS)
def test_what_was_not_spoiled_is_read(samples: Samples, kind: str) -> None:
    READERS[kind](samples[kind])
