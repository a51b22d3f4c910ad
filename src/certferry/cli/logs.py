"""What certferry's services log: plain lines on stderr, one for each event, of the level that was asked for."""

import logging
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

LEVEL_VARIABLE = "CERTFERRY_LOG_LEVEL"
_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LogLevel(StrEnum):
    """From which level on."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevelOption = Annotated[
    LogLevel,
    typer.Option(
        "--log-level",
        envvar=LEVEL_VARIABLE,
        show_envvar=False,
        help=f"What is told on stderr: from this level on; else ${LEVEL_VARIABLE}.",
    ),
]


class _OnStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Write to what stderr is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Plain(logging.Formatter):
    """One line of printable characters for each message: peers choose part of what is logged.

    The lines of a traceback that follow a message are indented, so that none of them can pass for a message.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- its name in logging
        return _printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 -- its name in logging
        return "\n".join(f"  {_printable(line)}" for line in super().formatException(ei).split("\n"))


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def log_plainly() -> None:
    """Let whatever nobody set up a log for, libraries included, write its warnings on stderr in the same plain way."""
    last = _OnStderr(logging.WARNING)
    last.setFormatter(_Plain(_FORM))
    logging.lastResort = last


def log_on_stderr(level: LogLevel) -> None:
    """Log what certferry tells. Libraries are not let loose: what they tell at lower levels may hold secrets."""
    logger = logging.getLogger("certferry")
    for handler in [each for each in logger.handlers if isinstance(each, _OnStderr)]:
        logger.removeHandler(handler)
    handler = _OnStderr()
    handler.setFormatter(_Plain(_FORM))
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = True
