"""Whatever peers write into questions and file names, it is read or left alone, and reads as the codec reads it."""

from string import printable

from hypothesis import given
from hypothesis import strategies as st

from certferry.cluster.sightings import Step
from certferry.serve.watching import _file, _question
from certferry.wire.tvs import CertificateQueryRequest, CertificateVerificationRequest

devices = st.integers(0, 16**12 - 1).map("SEP{:012X}".format)
texts = st.text(printable, max_size=40).map(lambda text: text.replace("\0", ""))
questions = st.builds(
    CertificateQueryRequest,
    st.integers(0, 2**32 - 1),
    devices.map("CP-8861-{}".format),
    texts,
    texts.map("CN={}".format),
    st.binary(min_size=1, max_size=20),
)


@given(questions, st.integers(0, 255))
def test_a_question_reads_as_the_codec_reads_it(question: CertificateQueryRequest, status: int) -> None:
    read = _question(question.encode(), status)
    assert read is not None
    device, step, detail = read
    assert (device, step) == (question.device.rpartition("-")[2], Step.TVS)
    assert len(detail) == len(question.subject) + (8 if status else 6)
    assert detail.isprintable()


@given(st.binary(max_size=300), st.integers(0, 255))
def test_arbitrary_bytes_are_no_question_or_read(data: bytes, status: int) -> None:
    read = _question(data, status)
    assert read is None or read[2].isprintable()


@given(questions, st.data())
def test_damaged_questions_are_read_or_left_alone(question: CertificateQueryRequest, data: st.DataObject) -> None:
    damaged = bytearray(question.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read = _question(bytes(damaged), 0)
    assert read is None or read[2].isprintable()


@given(st.binary(max_size=100))
def test_what_is_no_certificate_is_nobody(der: bytes) -> None:
    assert _question(CertificateVerificationRequest(1, "SEP001122334455", der).encode(), 0) is None


@given(st.text(max_size=60))
def test_file_names_are_those_of_a_phone_or_left_alone(name: str) -> None:
    read = _file(name, "TFTP")
    assert read is None or (len(read[0]), read[1]) in {(15, Step.CTL), (15, Step.ITL), (15, Step.CONFIGURATION)}
