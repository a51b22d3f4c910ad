"""Opens PKCS#12 files in a process of its own, which can be ended.

What a file asks for outside its encrypted content is seen before it is opened (``wire.pkcs12_outline``). Inside,
whoever knows the password, and the usual one is known to everybody, can hide a key that asks for years of key
derivation; the library would obey, and hold up every thread of this process meanwhile. So it obeys in another one.

::

    to the process     { "data": "<base64>", "passwords": ["...", null] }                       a line of JSON each
    from it            { "certificates": [["<base64 of DER>", "name"], ...], "keys_ignored": 0, "mac": true }
                       { "refused": "wire.pkcs12-password", "sentence": "..." }
"""

import atexit
import json
import os
import resource
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Sequence
from threading import Lock, Timer
from typing import IO, Any

from certferry.errors import Refusal
from certferry.wire.certificate import Certificate
from certferry.wire.pkcs12 import (
    Bundle,
    BundledCertificate,
    Pkcs12MalformedError,
    Pkcs12PasswordError,
    Pkcs12TooCostlyError,
    hides_its_costs,
    parse,
)

SECONDS = 60.0
"""How long one file may take; the costliest that is let in takes some 8 s with four passwords."""
_REFUSALS: dict[str, type[Refusal]] = {
    refusal.code: refusal for refusal in (Pkcs12MalformedError, Pkcs12PasswordError, Pkcs12TooCostlyError)
}


class Opener:
    """A process that opens files, one at a time; begun with the first, and anew after one was too costly."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._turn = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def open(self, data: bytes, passwords: Sequence[str | None]) -> Bundle:
        """Do as ``wire.pkcs12.parse``, and raise ``Pkcs12TooCostlyError`` for what takes too long, too."""
        if not hides_its_costs(data):
            return parse(data, passwords)
        question = {"data": b64encode(data).decode(), "passwords": list(passwords)}
        with self._turn:
            answer = self._ask(json.dumps(question).encode() + b"\n")
        if "refused" in answer:
            raise _REFUSALS[answer["refused"]](answer["sentence"])
        entries = (BundledCertificate(Certificate.parse(b64decode(der)), name) for der, name in answer["certificates"])
        return Bundle(tuple(entries), answer["keys_ignored"], mac=answer["mac"])

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.communicate()  # closes its input, and waits

    def _begun(self) -> subprocess.Popen[bytes]:
        """Give the process, another one when somebody ended it meanwhile.

        A child of ours that was forked must not speak to the one of its parent.
        """
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is not None:
            self.close()
        if self._process is None or self._owner != os.getpid():
            words = [sys.executable, "-P", "-c", f"from {__name__} import answer_all; answer_all()"]
            self._owner = os.getpid()
            # In a session of its own, so that Ctrl-C ends us alone; it ends when nobody can ask any more.
            self._process = subprocess.Popen(  # noqa: S603 -- ourselves
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        return self._process

    def _ask(self, question: bytes) -> dict[str, Any]:
        process = self._begun()
        assert process.stdin is not None  # noqa: S101 -- both are pipes
        assert process.stdout is not None  # noqa: S101
        alarm = Timer(self._seconds, process.kill)
        alarm.start()
        try:
            process.stdin.write(question)
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
        except (OSError, ValueError) as error:
            process.kill()
            self._process = None
            process.communicate()
            raise Pkcs12TooCostlyError(
                f"the PKCS#12 file takes longer than {self._seconds:g} seconds to open, or more memory than there is"
            ) from error
        finally:
            alarm.cancel()
        return answer


def answer_all(questions: IO[bytes] | None = None, answers: IO[bytes] | None = None) -> None:
    """Open what is asked for until nobody asks any more."""
    told = answers or sys.stdout.buffer
    for line in questions or sys.stdin.buffer:
        _bound_work()
        told.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
        told.flush()


def _bound_work() -> None:
    """End by ourselves if whoever asked is gone before the time is up, and cannot end us."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft, hard = int(used.ru_utime + used.ru_stime + 2 * SECONDS), resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        bundle = parse(b64decode(question["data"]), question["passwords"])
    except Pkcs12MalformedError as error:
        known = error.code if error.code in _REFUSALS else Pkcs12MalformedError.code
        return {"refused": known, "sentence": error.sentence}
    except Pkcs12PasswordError as error:
        return {"refused": error.code, "sentence": error.sentence}
    entries = [[b64encode(entry.certificate.der).decode(), entry.friendly_name] for entry in bundle.certificates]
    return {"certificates": entries, "keys_ignored": bundle.keys_ignored, "mac": bundle.mac}


OPENER = Opener()
"""The one of this process."""
atexit.register(OPENER.close)
