"""``python -m certferry``."""

from certferry.cli.main import run

run()
