"""From a console log or a TVS trace to the cause, whole and cut off."""

import pytest

from certferry.migrate.diagnose import diagnose, diagnose_lines
from certferry.migrate.signs import Certainty

CERTAIN, LIKELY, POSSIBLE = Certainty

MAP_ID = "24000000179479B8F124AC3F3B000000000017CN=dst-pub.example.com;OU=UC;O=Example"
ACCEPTED = """\
10:01:02.100 |Accepted TCP connection from socket 0x00000012, fd = 9
10:01:02.101 |Total Session attempted = 1 accepted = 1
10:01:02.102 |ipAddrStr (Phone) 198.51.100.4
10:01:02.103 |tvsSSLHandShakeNotify
"""
SHOOK = """\
10:01:02.603 |198.51.100.4: tvsSSLHandShake Session ciphers - AES256-SHA
10:01:02.604 |TLS HS Done for ph_conn
"""
ASKED = f"""\
10:01:02.700 |Incoming Phone Msg:
10:01:02.701 |MsgType : TVS_MSG_QUERY_CERT_REQ
10:01:02.702 |Rcvd Event: TVS_EV_QUERY_CERT_REQ in State: TVS_STATE_AWAIT_REQ
10:01:02.703 |tvsHandleQueryCertReq : Subject Name is: CN=dst-pub.example.com;OU=UC
10:01:02.704 |CertificateDBCache - Looking up the certificate cache using Unique MAP ID : {MAP_ID}
"""
MISSED = """\
10:01:02.705 |ERROR:CertificateDBCache::getCertificateInformation - Cannot find the certificate in the cache
10:01:02.706 |tvsHandleQueryCertReq : certificate not found
10:01:02.707 |Sending QUERY_CERT_RES msg
"""
FOUND = """\
10:01:02.705 |Found entry {rolecount : 2}
10:01:02.706 |{role : 0}
10:01:02.707 |{role : 3}
10:01:02.708 |Sending QUERY_CERT_RES msg
"""
CONSOLE_SUCCESS = """\
1234 NOT 08:52:30.1 SECUREAPP-SSL session setup Cert Verification - Role is = 21
1235 NOT 08:52:30.2 SECUREAPP-TVS added cert to TVS cache - expires in 24 hours
1236 NOT 08:52:30.3 SECUREAPP-Hashes match... authentication successful.
1237 NOT 08:52:30.4 SECUREAPP-updateFromFile: TL parse to table: CTL_SUCCESS
1238 NOT 08:52:30.5 SECUREAPP-TL file verified successfully.
1239 NOT 08:52:30.6 SECUREAPP-TL file updated.
"""


def told(text: str) -> dict[str, Certainty]:
    return {found.code: found.certainty for found in diagnose(text)}


# TVS traces


def test_a_signer_that_tvs_does_not_know_is_certain_with_serial_and_issuer() -> None:
    first = diagnose(ACCEPTED + SHOOK + ASKED + MISSED)[0]
    assert (first.code, first.certainty) == ("tvs.invalid", CERTAIN)
    assert "serial 24000000179479B8F124AC3F3B000000000017" in first.evidence[0]
    assert "issuer CN=dst-pub.example.com" in first.evidence[0]
    assert "198.51.100.4" in first.evidence[0]
    assert "24000000179479B8F124AC3F3B000000000017" in first.settle()


def test_a_miss_is_told_once_though_the_trace_tells_it_twice() -> None:
    assert len(diagnose(ACCEPTED + SHOOK + ASKED + MISSED)[0].evidence) == 1


def test_a_miss_of_itlrecovery_says_that_its_import_was_forgotten() -> None:
    codes = told((ASKED + MISSED).replace("dst-pub", "ITLRECOVERY_dst-pub"))
    assert codes["tvs.invalid"] is CERTAIN
    assert codes["import.itlrecovery-missing"] is LIKELY


def test_a_miss_without_its_question_is_still_a_miss() -> None:
    assert told(MISSED)["tvs.invalid"] is CERTAIN


def test_a_miss_of_an_https_certificate_does_not_stop_a_migration() -> None:
    codes = told(ASKED.replace("QUERY_CERT_REQ", "CERT_VERIF_REQ") + MISSED.replace("QUERY_CERT", "CERT_VERIF"))
    assert codes["https.not-trusted"] is LIKELY
    assert codes.get("tvs.invalid") is not CERTAIN


def test_a_signer_with_both_roles_is_nothing_to_report() -> None:
    assert told(ACCEPTED + SHOOK + ASKED + FOUND) == {}


@pytest.mark.parametrize("found", ["Found entry {rolecount : 0}\n", "Found entry {rolecount : 1}\n{role : 7}\n"])
def test_a_signer_without_the_role_is_in_the_wrong_store(found: str) -> None:
    trace = ACCEPTED + SHOOK + ASKED + found + "Sending QUERY_CERT_RES msg\n"
    assert told(trace) == {"tvs.role": CERTAIN}


def test_tftp_without_sast_is_likely_not_enough() -> None:
    assert told(ASKED + "Found entry {rolecount : 1}\n{role : 3}\nSending QUERY_CERT_RES msg\n") == {"tvs.role": LIKELY}


def test_roles_that_were_cut_off_prove_nothing() -> None:
    assert told(ASKED + "Found entry {rolecount : 2}\n{role : 3}\n") == {}


def test_a_session_without_handshake_before_the_next_one_broke_off() -> None:
    codes = told(ACCEPTED + ACCEPTED + SHOOK + ASKED + MISSED)
    assert "tvs.handshake" not in codes, "TVS answered in the same trace"
    assert told(ACCEPTED + ACCEPTED)["tvs.handshake"] is LIKELY


def test_a_session_cut_off_by_the_end_of_the_trace_is_only_possibly_broken() -> None:
    assert told(ACCEPTED) == {"tvs.handshake": POSSIBLE, "tvs.certificate-unknown": POSSIBLE}


def test_a_question_without_answer_before_the_next_one_is_noticed() -> None:
    assert told(ASKED + ASKED + FOUND)["tvs.no-answer"] is POSSIBLE


@pytest.mark.parametrize(
    ("alarm", "code"),
    [
        ("%UC_TVS-1-TVSServerListenBindFailed: port 2445", "tvs.not-running"),
        ("%UC_TVS-3-ConfigThreadReadConfigurationFailed", "tvs.not-running"),
        ("%UC_TVS-6-TVSCertificateRegenerated: %[NodeID=src1]", "tvs.regenerated"),
        ("%UC_TVS-6-RollBackToPre8.0Enabled", "rollback.source"),
        ("%UC_CERT-3-CertExpired: TVS", "list.expired"),
    ],
)
def test_an_alarm_of_the_cluster_alone_names_the_cause(alarm: str, code: str) -> None:
    assert diagnose(alarm)[0].code == code


def test_rollback_that_was_disabled_is_not_reported() -> None:
    assert told("%UC_TVS-6-RollBackToPre8.0Disabled") == {}


# Console logs


def test_a_phone_that_did_update_is_told_so() -> None:
    found = diagnose(CONSOLE_SUCCESS)
    assert [each.code for each in found] == ["list.updated"]
    assert found[0].cause.fine


def test_a_handshake_alert_from_the_server_is_about_versions_or_ciphers() -> None:
    codes = told("SECD: clpSetupSsl: SSL3 alert read:fatal:handshake failure")
    assert codes == {"tvs.handshake": LIKELY, "tvs.certificate-unknown": POSSIBLE}


def test_an_alert_from_the_phone_is_about_the_certificate() -> None:
    assert diagnose("SECUREAPP-SSL3 alert write:fatal:unknown CA")[0].code == "tvs.certificate-unknown"


def test_a_log_explains_the_vague_message() -> None:
    text = "[8:52:30am 10/01/19] Trust List Update Failed\nSECUREAPP-Not using TVS - TVS not in Trust list\n"
    assert told(text)["tvs.not-in-itl"] is CERTAIN
    log = "Trust List update failed, verification failure\n" + ACCEPTED + SHOOK + ASKED + MISSED
    first = diagnose(log)[0]
    assert first.code == "tvs.invalid"
    assert "Trust List update failed, verification failure" in first.evidence
    assert "list.signature" not in told(log)


def test_a_refused_connection_to_tvs_is_told() -> None:
    assert told("SECUREAPP-connect to 192.0.2.1:2445 failed: Connection refused") == {"tvs.unreachable": LIKELY}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CTLSEP001122334455.tlv", "file.ctl-not-found"),
        ("ITLSEP001122334455.tlv", "file.device-unknown"),
        ("ITLFile.tlv", "list.itl-missing"),
        ("SEP001122334455.cnf.xml.sgn", "configuration.missing"),
    ],
)
def test_a_download_that_ends_with_status_2_names_the_missing_file(name: str, code: str) -> None:
    log = f"dgetfile(3)-GETXXTP [GT877][src={name}][dest=/tmp/x][serv=][sec=0]\nother\nXXTP complete - status = 2\n"
    assert list(told(log)) == [code]


def test_a_download_that_succeeded_is_not_reported() -> None:
    assert told("[GT877][src=ITLFile.tlv][dest=x]\nXXTP complete - status = 100\n") == {}


def test_another_download_status_is_only_possibly_a_failure() -> None:
    assert told("[GT877][src=ITLFile.tlv][dest=x]\nXXTP complete - status = 7\n") == {"tftp.failed": POSSIBLE}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("GET /ITLSEP001122334455.tlv HTTP/1.1 404 Not Found", "file.device-unknown"),
        ("GET /CTLSEP001122334455.tlv: HTTP/1.1 404 Not Found", "file.ctl-not-found"),
        ("http://192.0.2.1:6970/SEP001122334455.cnf.xml.sgn 404", "configuration.missing"),
        ("HTTP/1.1 503 Service Unavailable", "tftp.busy"),
        ("Requested file is Busy", "tftp.busy"),
        ("TFTPEngine FindMatching(SEP001122334455), Not Found", "file.device-unknown"),
        ("Error parsing the ITL File", "node.itl-damaged"),
    ],
)
def test_servers_and_their_traces_are_read(line: str, code: str) -> None:
    assert diagnose(line)[0].code == code


def test_retval_9_is_no_failure() -> None:
    assert told("AUTH.SRVR SEP001122334455.cnf.xml.sgn authentication retval=9") == {}
    assert told("AUTH.SRVR authentication retval=5") == {"configuration.signature": POSSIBLE}


def test_everything_in_one_paste_cut_off_at_both_ends_is_read() -> None:
    paste = (ACCEPTED + SHOOK + ASKED + MISSED)[40:-30] + CONSOLE_SUCCESS[10:-20] + "TFTP server not autho"
    codes = told(paste.replace("\n", "\r\n"))
    assert codes["tvs.invalid"] is CERTAIN
    assert codes["list.updated"] is LIKELY


def test_a_log_is_read_line_by_line_in_bounded_room() -> None:
    def endless() -> object:
        for number in range(30_000):
            yield f"[8:52:30am 10/01/19] Trust List Update Failed {number}"
            yield "Unique MAP ID : " + f"{number:08X}CN=a\n"
            yield "Cannot find the certificate in the cache"

    found = diagnose_lines(endless())  # type: ignore[arg-type]
    assert found[0].code == "tvs.invalid"
    assert all(len(each.evidence) <= 6 for each in found)
    assert all(len(line) <= 240 for each in found for line in each.evidence)
