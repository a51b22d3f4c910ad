"""Under which addresses the pages can be opened, and whether the server's certificate names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509

from certferry.wire.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Openable:
    """The hosts to open the pages at, the best first; ``warning`` says why browsers will warn, or is empty."""

    hosts: tuple[str, ...]
    warning: str = ""

    def urls(self, scheme: str, port: int) -> list[str]:
        """Write the addresses as browsers take them."""
        return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/" for host in self.hosts]


def openable(asked: str, bound: str, machine: str, named: Sequence[str] | None) -> Openable:
    """Tell where pages are opened that listen at ``asked``, which is the address ``bound``, of ``machine``.

    ``named`` are the hosts that the server's certificate names; None without TLS.
    """
    if named is None or _is(bound, "is_loopback"):
        return Openable((asked,))
    everywhere = _is(bound, "is_unspecified")
    wanted = machine if everywhere else asked
    own = [name for name in named if _names(name, wanted) or (everywhere and _same_machine(name, machine))]
    if own:
        return Openable(tuple(name for name in own if not name.startswith("*")) or (wanted,))
    there = ", ".join(named) or "no host"
    warning = f"the tomcat certificate names {there}, not {wanted}: browsers and programs will not trust it there"
    return Openable((wanted,), warning)


def hosts_of(certificate: Certificate) -> list[str]:
    """Read the hosts for which browsers take a certificate: its alternative names, in their order."""
    try:
        names = certificate.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return []
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _names(name: str, host: str) -> bool:
    """Whether a name in a certificate stands for ``host``; a wildcard for one label (RFC 6125)."""
    pattern, wanted = name.lower().rstrip("."), host.lower().rstrip(".")
    if pattern.startswith("*."):
        return "." in wanted and pattern[2:] == wanted.partition(".")[2]
    return pattern == wanted


def _same_machine(name: str, machine: str) -> bool:
    """Whether a short name and a full one may be of one machine: ``src-pub`` and ``src-pub.example.com``."""
    return name.startswith(f"{machine}.") or machine.startswith(f"{name}.")


def _is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ip_address(host), what))
    except ValueError:
        return False
