"""What a TVS index remembers of questions never shows in an answer: any bytes, asked after anything, get the same."""

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st

from certferry.serve.tvs_index import TvsIndex
from certferry.wire.certificate import Certificate
from certferry.wire.roles import Role
from certferry.wire.tvs import CertificateQueryRequest, CertificateVerificationRequest, TvsMalformedError
from conftest import MakeCertificate


@pytest.fixture(scope="module")
def known(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Certificate:
    return make_certificate("CN=signer;O=Example", key=rsa_key)


def answer(index: TvsIndex, message: bytes) -> bytes | None:
    try:
        return index.reply(message)
    except TvsMalformedError:
        return None


def fresh(known: Certificate) -> TvsIndex:
    return TvsIndex.build([(known, frozenset({Role.SAST}))])


@given(
    mutations=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 20),
    verification=st.booleans(),
)
def test_a_message_gets_the_same_answer_from_an_index_that_has_met_its_like(
    known: Certificate, mutations: list[tuple[int, int]], cut: int, *, verification: bool
) -> None:
    query = CertificateQueryRequest(7, "SEP001122334455", known.subject, known.issuer, known.serial).encode()
    question = CertificateVerificationRequest(7, "SEP001122334455", known.der).encode() if verification else query
    message = bytearray(question[: len(question) - cut] if cut else question)
    for at, value in mutations:
        message[at % len(message)] = value
    experienced = fresh(known)
    for met in (query, question, bytes(message)):
        answer(experienced, met)
    assert answer(experienced, bytes(message)) == answer(fresh(known), bytes(message))
