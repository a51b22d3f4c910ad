"""A trust list prints as ``show ctl`` and ``show itl`` print it."""

from dataclasses import replace

import pytest

import published_lists as published
from certferry.wire.listing import listing
from certferry.wire.roles import Role
from certferry.wire.signed_header import SignedHeader
from certferry.wire.trust_list import TrustList, TrustRecord

WHEN = "Fri Mar 06 19:45:13 CET 2015"


@pytest.fixture(scope="module")
def ctl() -> str:
    return listing(published.tokenless_1024().encode(), "CTL", verified=True, local_time_text=WHEN)


def small_list() -> TrustList:
    header = SignedHeader.parse(published.tokenless_1024().encode())
    header = replace(
        header, subject="CN=pub", issuer="CN=ca", serial=b"\x70\xca", signature=bytes([0, 10, 255, 1] * 16)
    )
    record = TrustRecord(Role.SAST, "pub", "CN=pub", "CN=ca", b"\x70\xca", b"key", b"sign", b"der", "192.0.2.1")
    return TrustList(header, (record, replace(record, role=int(Role.TVS)), TrustRecord.emptied("sub", 2, "192.0.2.2")))


def test_a_ctl_is_printed_as_show_ctl_prints_it() -> None:
    assert (
        listing(small_list().encode(), "CTL", verified=True, local_time_text=WHEN)
        == """\
The checksum value of the CTL file:
84f8678f35da9b2e6777d60262d14358(MD5)
ccc4decd0e5c527795aa46b799b5934563b76c35(SHA1)

Length of CTL file: 302
The CTL File was last modified on Fri Mar 06 19:45:13 CET 2015

        Parse CTL File
        ----------------

Version:        1.2
HeaderLength:   144 (BYTES)

BYTEPOS TAG             LENGTH  VALUE
------- ---             ------  -----
3       SIGNERID        2       24
4       SIGNERNAME      7       CN=pub
5       SERIALNUMBER    2       70:CA
6       CANAME          6       CN=ca
7       SIGNATUREINFO   2       15
8       DIGESTALGORTITHM        1
9       SIGNATUREALGOINFO       2       8
10      SIGNATUREALGORTITHM     1
11      SIGNATUREMODULUS        1
12      SIGNATURE       64
0 a ff 1 0 a ff 1
0 a ff 1 0 a ff 1
0 a ff 1 0 a ff 1
0 a ff 1 0 a ff 1
0 a ff 1 0 a ff 1
0 a ff 1 0 a ff 1
0 a ff 1 0 a ff 1
0 a ff 1 0 a ff 1
14      FILENAME        12
15      TIMESTAMP       4

        CTL Record #:1
                  ----
BYTEPOS TAG             LENGTH  VALUE
1       RECORDLENGTH    2       67
2       DNSNAME         4       pub
3       SUBJECTNAME     7       CN=pub
4       FUNCTION        2       System Administrator Security Token
5       ISSUERNAME      6       CN=ca
6       SERIALNUMBER    2       70:CA
7       PUBLICKEY       3
8       SIGNATURE       4
9       CERTIFICATE     3       7D 44 C3 3C F9 A8 2A B9 BD 53 00 D2 66 78 45 04 E9 77 21 77 (SHA1 Hash HEX)
10      IPADDRESS       4
This etoken was used to sign the CTL file.

        CTL Record #:2
                  ----
BYTEPOS TAG             LENGTH  VALUE
1       RECORDLENGTH    2       67
2       DNSNAME         4       pub
3       SUBJECTNAME     7       CN=pub
4       FUNCTION        2       TVS
5       ISSUERNAME      6       CN=ca
6       SERIALNUMBER    2       70:CA
7       PUBLICKEY       3
8       SIGNATURE       4
9       CERTIFICATE     3       7D 44 C3 3C F9 A8 2A B9 BD 53 00 D2 66 78 45 04 E9 77 21 77 (SHA1 Hash HEX)
10      IPADDRESS       4

        CTL Record #:3
                  ----
BYTEPOS TAG             LENGTH  VALUE
1       RECORDLENGTH    2       24
2       DNSNAME         4       sub
4       FUNCTION        2       CCM+TFTP
10      IPADDRESS       4

The CTL file was verified successfully.
"""
    )


def test_the_file_is_introduced_by_checksums_length_and_time(ctl: str) -> None:
    lines = ctl.splitlines()
    assert lines[0] == "The checksum value of the CTL file:"
    assert (lines[1][32:], lines[2][40:], lines[3]) == ("(MD5)", "(SHA1)", "")
    assert lines[4:6] == ["Length of CTL file: 4947", f"The CTL File was last modified on {WHEN}"]


def test_the_header_of_the_published_ctl_prints_its_published_numbers(ctl: str) -> None:
    assert "Version:        1.2\nHeaderLength:   336 (BYTES)\n" in ctl
    assert "3       SIGNERID        2       149\n" in ctl
    assert "5       SERIALNUMBER    16      70:CA:F6:12:" in ctl
    assert "7       SIGNATUREINFO   2       15\n8       DIGESTALGORTITHM        1\n" in ctl
    assert "9       SIGNATUREALGOINFO       2       8\n10      SIGNATUREALGORTITHM     1\n" in ctl
    assert "11      SIGNATUREMODULUS        1\n12      SIGNATURE       128\n" in ctl
    assert "14      FILENAME        12\n15      TIMESTAMP       4\n" in ctl


def test_a_record_of_the_published_ctl_prints_its_published_numbers(ctl: str) -> None:
    assert "        CTL Record #:1\n                  ----\nBYTEPOS TAG" in ctl
    assert "1       RECORDLENGTH    2       1156\n2       DNSNAME         16      cucm-1051-a-pub\n" in ctl
    assert "4       FUNCTION        2       System Administrator Security Token\n" in ctl
    assert "7       PUBLICKEY       140\n8       SIGNATURE       128\n9       CERTIFICATE     694     " in ctl
    assert "(SHA1 Hash HEX)\n10      IPADDRESS       4\nThis etoken was used to sign the CTL file.\n" in ctl


def test_only_tokens_say_whether_they_signed(ctl: str) -> None:
    assert ctl.count("This etoken was") == 1


def test_a_token_that_did_not_sign_says_so() -> None:
    trust_list = small_list()
    spare = replace(trust_list.records[0], serial=b"\x01")
    text = listing(replace(trust_list, records=(spare,)).encode(), "CTL", verified=True, local_time_text=WHEN)
    assert "This etoken was not used to sign the CTL file.\n" in text


def test_emptied_records_print_33_bytes_and_no_certificate() -> None:
    text = listing(published.back_to_non_secure().encode(), "CTL", verified=True, local_time_text=WHEN)
    (record,) = (part for part in text.split("CTL Record #:") if part.startswith("5\n"))
    assert "RECORDLENGTH    2       33\n" in record
    assert "FUNCTION        2       CCM+TFTP\n" in record
    assert "CERTIFICATE" not in record


def test_an_itl_prints_itl_where_a_ctl_prints_ctl() -> None:
    text = listing(small_list().encode(), "ITL", verified=True, local_time_text=WHEN)
    assert "CTL" not in text
    assert "        Parse ITL File\n" in text
    assert "FUNCTION        2       TVS\n" in text
    assert text.endswith("\nThe ITL file was verified successfully.\n")


def test_a_signature_that_fails_is_told_at_the_end() -> None:
    text = listing(small_list().encode(), "ITL", verified=False, local_time_text=WHEN)
    assert text.endswith("\nVerification of the ITL file failed.\n")


def test_elements_that_another_writer_left_out_are_not_printed() -> None:
    record = bytes.fromhex("010002 0029 030007") + b"CN=pub\0" + bytes.fromhex("050006") + b"CN=ca\0"
    record += bytes.fromhex("06000270ca 0400020000 0900 03 646572")
    record = record[:3] + len(record).to_bytes(2, "big") + record[5:]
    text = listing(small_list().header.encode() + record, "ITL", verified=True, local_time_text=WHEN)
    assert "DNSNAME" not in text
    assert text.index("3       SUBJECTNAME") < text.index("5       ISSUERNAME") < text.index("4       FUNCTION")


def test_a_missing_ctl_says_how_to_make_one() -> None:
    assert listing(b"", "CTL", verified=False, local_time_text="") == (
        "Length of CTL file: 0\n"
        "CTL File not found. Please run CTLClient plugin or run the CLI - utils ctl.. to generate the CTL file.\n"
        "Error parsing the CTL File.\n"
    )


def test_a_missing_itl_says_so() -> None:
    assert "ITL File not found.\n" in listing(b"", "ITL", verified=False, local_time_text="")


def test_a_file_that_cannot_be_parsed_prints_its_checksums_and_that() -> None:
    text = listing(published.tokenless_1024().encode()[:-1], "CTL", verified=False, local_time_text=WHEN)
    assert "Length of CTL file: 4946\n" in text
    assert text.endswith("\nError parsing the CTL File.\n")
    assert "Record" not in text


def test_a_name_cannot_send_control_characters_to_the_terminal() -> None:
    record = TrustRecord.emptied("pub\x1b[2J\nThe CTL file was verified", Role.TVS, "192.0.2.1")
    text = listing(replace(small_list(), records=(record,)).encode(), "CTL", verified=False, local_time_text=WHEN)
    assert "pub?[2J?The CTL file was verified\n" in text
