"""A trust list as ``show ctl`` and ``show itl`` print it (phone-trust 1.9, bulk-certificates 4.1).

The layout follows published ``show ctl`` screens; their column widths and the number of signature bytes on a row
are deduced, because copies of them had their white space collapsed. ``show itl`` is taken to be the same with ITL
for CTL. "Etoken" is the screen's word for whatever certificate may sign.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import md5, sha1

from certferry.errors import MalformedError
from certferry.wire.roles import Role, role_text
from certferry.wire.signed_header import HeaderTag, SignedHeader, walk_header
from certferry.wire.tlv import spans, text_of
from certferry.wire.trust_list import ListKind, RecordTag, TrustList, TrustRecord, record_spans

_HEADING = "BYTEPOS TAG             LENGTH  VALUE"
_RULE = "------- ---             ------  -----"
_BYTES_ON_A_ROW = 8

Show = Callable[[int, bytes], str]


def listing(data: bytes, kind: ListKind, verified: bool, local_time_text: str) -> str:  # noqa: FBT001 -- a fact about the file
    """Print ``data`` as the server's command line does; empty ``data`` means that there is no file.

    ``verified`` is what checking the signature gave; ``local_time_text`` is the file's time in the server's zone,
    such as ``Fri Mar 06 19:45:13 CET 2015``. A malformed file prints its checksums and that it cannot be parsed.
    """
    if not data:
        return _joined((f"Length of {kind} file: 0", _not_found(kind), f"Error parsing the {kind} File."))
    try:
        trust_list = TrustList.parse(data)
    except MalformedError:
        return _joined((*_preamble(data, kind, local_time_text), f"Error parsing the {kind} File."))
    verdict = f"The {kind} file was verified successfully." if verified else f"Verification of the {kind} file failed."
    return _joined(
        [
            *_preamble(data, kind, local_time_text),
            *_header(data, kind, trust_list),
            *_records(data, kind, trust_list),
            "",
            verdict,
        ]
    )


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _not_found(kind: ListKind) -> str:
    if kind == "ITL":
        return "ITL File not found."
    return "CTL File not found. Please run CTLClient plugin or run the CLI - utils ctl.. to generate the CTL file."


def _preamble(data: bytes, kind: ListKind, local_time_text: str) -> Iterator[str]:
    yield f"The checksum value of the {kind} file:"
    yield f"{md5(data, usedforsecurity=False).hexdigest()}(MD5)"
    yield f"{sha1(data, usedforsecurity=False).hexdigest()}(SHA1)"
    yield ""
    yield f"Length of {kind} file: {len(data)}"
    yield f"The {kind} File was last modified on {local_time_text}"
    yield ""


def _header(data: bytes, kind: ListKind, trust_list: TrustList) -> Iterator[str]:
    major, minor = trust_list.header.version
    yield f"        Parse {kind} File"
    yield "        ----------------"
    yield ""
    yield f"Version:        {major}.{minor}"
    yield f"HeaderLength:   {SignedHeader.parse_prefix(data)[1]} (BYTES)"
    yield ""
    yield _HEADING
    yield _RULE
    for tag, start, stop in walk_header(data):
        if tag in _HEADER_ROWS:
            yield from _row(tag, data[start:stop], *_HEADER_ROWS[tag])


def _records(data: bytes, kind: ListKind, trust_list: TrustList) -> Iterator[str]:
    body = record_spans(data, SignedHeader.parse_prefix(data)[1])
    for index, (record, (start, end)) in enumerate(zip(trust_list.records, body, strict=True), 1):
        yield ""
        yield f"        {kind} Record #:{index}"
        yield "                  ----"
        yield _HEADING
        for tag, value_start, value_end in spans(data, start, end):
            if tag in _RECORD_ROWS:
                yield from _row(tag, data[value_start:value_end], *_RECORD_ROWS[tag])
        yield from _signing(record, kind, trust_list.header)


def _signing(record: TrustRecord, kind: ListKind, header: SignedHeader) -> Iterator[str]:
    if record.role == Role.SAST:
        signed = record.is_named(header.subject, header.issuer, header.serial)
        yield f"This etoken was {'' if signed else 'not '}used to sign the {kind} file."


def _row(tag: int, value: bytes, name: str, show: Show) -> Iterator[str]:
    container = show is _length
    column = name.ljust(16 if len(name) < 16 else 24)  # noqa: PLR2004 -- the screen's tab stops
    first, *more = show(tag, value).split("\n")
    yield f"{tag:<8}{column}{2 if container else len(value):<8}{first}"
    yield from more


def _nothing(_tag: int, _value: bytes) -> str:
    return ""


def _length(_tag: int, value: bytes) -> str:
    return str(len(value))


def _number(_tag: int, value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


def _text(tag: int, value: bytes) -> str:
    # A list comes from a stranger: nothing in a name may move the reader's cursor.
    return "".join(character if character.isprintable() else "?" for character in text_of(tag, value, 0))


def _serial(_tag: int, value: bytes) -> str:
    return value.hex(":").upper()


def _role(_tag: int, value: bytes) -> str:
    return role_text(int.from_bytes(value, "big"))


def _fingerprint(_tag: int, value: bytes) -> str:
    return f"{sha1(value, usedforsecurity=False).digest().hex(' ').upper()} (SHA1 Hash HEX)"


def _signature(_tag: int, value: bytes) -> str:
    rows = [value[start : start + _BYTES_ON_A_ROW] for start in range(0, len(value), _BYTES_ON_A_ROW)]
    return "\n".join(["", *(" ".join(f"{byte:x}" for byte in row) for row in rows)])


_HEADER_ROWS: dict[int, tuple[str, Show]] = {
    HeaderTag.SIGNER_ID: ("SIGNERID", _length),
    HeaderTag.SIGNER_NAME: ("SIGNERNAME", _text),
    HeaderTag.SERIAL_NUMBER: ("SERIALNUMBER", _serial),
    HeaderTag.CA_NAME: ("CANAME", _text),
    HeaderTag.SIGNATURE_INFO: ("SIGNATUREINFO", _length),
    HeaderTag.DIGEST_ALGORITHM: ("DIGESTALGORTITHM", _nothing),
    HeaderTag.SIGNATURE_ALGORITHM_INFO: ("SIGNATUREALGOINFO", _length),
    HeaderTag.SIGNATURE_ALGORITHM: ("SIGNATUREALGORTITHM", _nothing),
    HeaderTag.SIGNATURE_MODULUS: ("SIGNATUREMODULUS", _nothing),
    HeaderTag.SIGNATURE: ("SIGNATURE", _signature),
    HeaderTag.FILENAME: ("FILENAME", _nothing),
    HeaderTag.TIMESTAMP: ("TIMESTAMP", _nothing),
}
"""Names as the screen spells them, "ALGORTITHM" and all."""

_RECORD_ROWS: dict[int, tuple[str, Show]] = {
    RecordTag.RECORD_LENGTH: ("RECORDLENGTH", _number),
    RecordTag.DNS_NAME: ("DNSNAME", _text),
    RecordTag.SUBJECT_NAME: ("SUBJECTNAME", _text),
    RecordTag.FUNCTION: ("FUNCTION", _role),
    RecordTag.ISSUER_NAME: ("ISSUERNAME", _text),
    RecordTag.SERIAL_NUMBER: ("SERIALNUMBER", _serial),
    RecordTag.PUBLIC_KEY: ("PUBLICKEY", _nothing),
    RecordTag.SIGNATURE: ("SIGNATURE", _nothing),
    RecordTag.CERTIFICATE: ("CERTIFICATE", _fingerprint),
    RecordTag.IP_ADDRESS: ("IPADDRESS", _nothing),
}
