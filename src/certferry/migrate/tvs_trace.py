"""Reading a TVS trace of a cluster: which phone asked, about whom, what was found, whether it was answered.

One session in the words of phone-trust 3.8, each line with its own time and prefix, other sessions in between::

    Accepted TCP connection from socket 0x12, fd = 9        a phone knocks
    ipAddrStr (Phone) 198.51.100.4
    198.51.100.4: tvsSSLHandShake Session ciphers - AES256-SHA
    TLS HS Done for ph_conn                                 it found this TVS in its ITL
    Rcvd Event: TVS_EV_QUERY_CERT_REQ in State: ...         it asks (command 3)
    tvsHandleQueryCertReq : Subject Name is: CN=...
    ... Unique MAP ID : 24000...17CN=issuer                 serial, then issuer
    Found entry {rolecount : 2}  {role : 0}  {role : 3}     or: Cannot find the certificate in the cache
    Sending QUERY_CERT_RES msg

A paste may begin or end anywhere, so what is missing at its edges proves nothing.
"""

import re
from collections.abc import Iterator

from certferry.migrate.signs import Observation, named
from certferry.wire.roles import Role

KEYWORDS = (
    "accepted tcp connection",
    "ipaddrstr",
    "tls hs done",
    "tvs_ev_",
    "subject name is",
    "unique map id",
    "found entry",
    "{role",
    "cannot find the certificate",
    "certificate not found",
    "_res msg",
)
_ADDRESS = re.compile(r"ipAddrStr \(Phone\)\s*:?\s*([0-9A-Fa-f.:]{3,45})")
_SUBJECT = re.compile(r"Subject Name is\s*:\s*(.{1,256})", re.IGNORECASE)
_MAP_ID = re.compile(r"Unique MAP ID\D{0,20}?[:=\s]\s*'?([0-9A-F]{2,64}?)((?:CN|OU|O|L|ST|C)=.{1,256})", re.IGNORECASE)
_COUNT = re.compile(r"rolecount\s*:\s*(\d{1,4})", re.IGNORECASE)
_ROLE = re.compile(r"\{\s*role\s*:\s*(\d{1,4})", re.IGNORECASE)
_TFTP_ROLES = frozenset({Role.TFTP, Role.CALLMANAGER_TFTP})


class TvsTraceReader:
    """Follows the sessions of a trace; one reader for one trace. Call ``end`` after the last line."""

    def __init__(self) -> None:
        self._phone = ""
        self._begin()

    def _begin(self) -> None:
        self._handshaking = False
        self._forget()

    def _forget(self) -> None:
        """Begin a new question."""
        self._subject = self._signer = ""
        self._told: str | None = None
        self._asked = self._https = False
        self._expected: int | None = None
        self._roles: set[int] = set()

    def read(self, line: str) -> Iterator[Observation]:
        """Take the next line."""
        low = line.lower()
        if "accepted tcp connection" in low:
            yield from self._accepted()
        elif "tls hs done" in low:
            self._handshaking = False
        elif "tvs_ev_" in low and "_req" in low:
            yield from self._question(low)
        elif "cannot find the certificate" in low or "certificate not found" in low:
            yield from self._missed(line)
        elif "_res msg" in low:
            yield from self._answered()
        else:
            self._remember(line)

    def end(self) -> Iterator[Observation]:
        """Tell what was still going on when the trace ended."""
        yield from self._weighed()
        if self._handshaking:
            yield named("unfinished-handshake", f"a connection{self._from()} without TLS HS Done at the trace's end")

    def _accepted(self) -> Iterator[Observation]:
        yield from self._weighed()
        if self._handshaking:
            yield named("broken-handshake", f"a connection{self._from()} was accepted, TLS HS Done did not follow")
        self._begin()
        self._phone = ""
        self._handshaking = True

    def _question(self, low: str) -> Iterator[Observation]:
        yield from self._weighed()
        if self._asked:
            yield named("unanswered", f"a question{self._from()} was received and none sent before the next")
        self._forget()
        self._handshaking = False
        self._asked, self._https = True, "verif" in low

    def _missed(self, line: str) -> Iterator[Observation]:
        about = self._signer or self._subject
        if about == self._told:
            return  # the same miss is told twice: by the cache, then by the handler
        self._told, self._expected = about, None
        if about:
            yield named(self._sign_of_miss(about), f"not found: {about}{self._from()}", signer=about)
        else:
            yield named(self._sign_of_miss(about), line)

    def _sign_of_miss(self, about: str) -> str:
        if self._https:
            return "miss-https"
        return "miss-itlrecovery" if "itlrecovery" in (self._subject + about).lower() else "miss"

    def _answered(self) -> Iterator[Observation]:
        yield from self._weighed()
        self._forget()

    def _remember(self, line: str) -> None:
        if found := _ADDRESS.search(line):
            self._phone = found[1]
        if found := _SUBJECT.search(line):
            self._subject = found[1].strip()
        if found := _MAP_ID.search(line):
            self._signer = f"serial {found[1].upper()}, issuer {found[2].strip()}"
        if found := _COUNT.search(line):
            self._expected = int(found[1])
        self._roles.update(int(role) for role in _ROLE.findall(line))

    def _weighed(self) -> Iterator[Observation]:
        """Judge the roles that were found, once all are told; a part of them proves nothing."""
        if self._expected is None or len(self._roles) < self._expected or self._https:
            return
        roles = ", ".join(map(str, sorted(self._roles))) or "none"
        about = self._signer or self._subject or "a certificate"
        evidence = f"found {about}{self._from()}: rolecount {self._expected}, roles {roles}"
        self._expected = None
        yield named(_sign_of_roles(self._roles), evidence, signer=about)

    def _from(self) -> str:
        return f", asked by {self._phone}" if self._phone else ""


def _sign_of_roles(roles: set[int]) -> str:
    if Role.SAST in roles:
        return "vouched"
    return "half-role" if roles & _TFTP_ROLES else "no-role"
