"""Debian's DHCP servers, as tests find them."""

import os
import shutil

import pytest

SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def program(name: str, package: str) -> str:
    """Where a program is; the test is skipped with the reason where it is not."""
    found = shutil.which(name, path=SBIN)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return found
