"""With which CallManagers a phone registers, and how: what its configuration and its trust lists say."""

from certferry.errors import MalformedError
from certferry.phone.events import Register
from certferry.phone.flash import Flash
from certferry.phone.outcome import Code
from certferry.phone.trust import PhoneTrust
from certferry.wire.phone_config import DeviceSecurityMode, PhoneConfig


def registrations(config: PhoneConfig, trust: PhoneTrust, *, by_default: bool = False) -> tuple[Register, ...]:
    """Return the registrations to try, in order; a secure phone knows its CallManagers by ``trust``."""
    secure = config.security_mode is not DeviceSecurityMode.NON_SECURE
    trusted = trust.callmanager_certificates if secure else ()
    return tuple(
        Register((member.address, member.sips_port if secure else member.sip_port), secure, trusted, by_default)
        for member in config.callmanagers
    )


def taken_by_none(reason: str, *, by_default: bool) -> tuple[Code, str]:
    """Say what it means that no CallManager took the phone, the last one for ``reason``."""
    if by_default:
        told = f"the cluster does not know this phone and gave it the default configuration: {reason}"
        return Code.DEVICE_UNKNOWN, told
    return Code.REGISTRATION_FAILED, f"no CallManager took it: {reason}"


def kept_registrations(flash: Flash) -> tuple[Register, ...]:
    """Return those of the configuration that the phone holds, none when it holds none that can be read.

    Where a phone goes back to whose new lists or configuration were refused: it keeps what it had (phone-trust 4.2).
    """
    try:
        return registrations(PhoneConfig.parse(flash.config or b"<device/>"), PhoneTrust.of(flash))
    except MalformedError:
        return ()
