"""Roles as programs read them: the short names of ``show ctl``, and SAST, which that screen spells out."""

from certferry.wire.roles import Role, role_text


def role_name(code: int) -> str:
    """Name a role: SAST, CCM, CCM+TFTP, TFTP, CAPF, TVS, ...; an unassigned code is ``role N``."""
    return "SAST" if code == Role.SAST else role_text(code)
