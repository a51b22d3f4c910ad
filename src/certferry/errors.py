"""The root of every refusal certferry makes on purpose.

One class for each refusal: a stable code, a sentence that says what was wrong with which file or peer, and a
remedy that says what to do next. The troubleshooting reference is generated from these classes, so a class
without a code or a remedy is a defect (tests/unit/test_errors.py).
"""

from typing import ClassVar


class Refusal(Exception):  # noqa: N818 -- the field's users read "refused: ...", not "RefusalError"
    """Something certferry declined to do, with the reason and the next step.

    ``code`` is stable and dotted (``wire.truncated``); ``remedy`` is the usual next step and may be replaced
    for one occurrence. ``str(refusal)`` is the sentence alone.
    """

    code: ClassVar[str] = "refused"
    remedy: str = "Read the sentence before this one; it names what was wrong."

    def __init__(self, sentence: str, *, remedy: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        if remedy is not None:
            self.remedy = remedy


class MalformedError(Refusal):
    """Bytes that are not what they claim to be; the root of every codec's own error."""

    code = "wire.malformed"
    remedy = "Fetch or export the file again; if it stays so, its maker wrote it wrong."


class UsageError(Refusal):
    """A command or call that cannot be meant as written."""

    code = "usage"
    remedy = "Read the command's --help."
