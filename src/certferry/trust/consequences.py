"""What replacing one of a cluster's own certificates brings about, told before it is done.

Which phones reset is documented (bulk 1.6, phone-trust 8); which lists change and what has to be exported again
follows from what the certificate is in.
"""

from dataclasses import dataclass

from certferry.trust.purpose import PURPOSES_OF_TYPE, BulkType, Purpose

_SERVICES: dict[Purpose, tuple[str, ...]] = {
    Purpose.CALLMANAGER: ("Cisco CallManager", "Cisco TFTP", "Cisco CTIManager"),
    Purpose.CALLMANAGER_ECDSA: ("Cisco CallManager",),
    Purpose.TOMCAT: ("Cisco Tomcat",),
    Purpose.TOMCAT_ECDSA: ("Cisco Tomcat",),
    Purpose.CAPF: ("Cisco Certificate Authority Proxy Function", "Cisco TFTP"),
    Purpose.TVS: ("Cisco Trust Verification Service", "Cisco TFTP"),
    Purpose.ITL_RECOVERY: ("Cisco Trust Verification Service", "Cisco TFTP"),
    Purpose.IPSEC: ("Cisco DRF Master", "Cisco DRF Local"),
}


@dataclass(frozen=True, slots=True)
class Consequences:
    """What follows: ``phones`` says which reset, ``lists`` which trust lists are rebuilt, ``export`` what is stale."""

    phones: str
    lists: tuple[str, ...]
    export: tuple[BulkType, ...]
    restart: tuple[str, ...]
    warnings: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """Tell them one by one."""
        told = [self.phones]
        if self.lists:
            told.append(f"Rebuilt: {', '.join(self.lists)}.")
        if self.export:
            types = ", ".join(self.export)
            told.append(f"Other clusters still hold the old one: export ({types}) and consolidate again, import there.")
        if self.restart:
            told.append(f"On a real cluster, restart: {', '.join(self.restart)}.")
        return (*told, *self.warnings)


def consequences(
    purpose: Purpose,
    *,
    tftp_on_node: bool,
    secure: bool,
    signs_lists: bool,
    lists: tuple[str, ...],
    groups: tuple[str, ...],
) -> Consequences:
    """Say what replacing ``purpose`` on one node brings about.

    ``tftp_on_node``: whether TFTP runs there; ``signs_lists``: whether it signs a trust list; ``lists``: those that
    name it; ``groups``: the CallManager groups the node is a member of.
    """
    return Consequences(
        phones=_phones(purpose, tftp_on_node=tftp_on_node, groups=groups),
        lists=lists,
        export=tuple(kind for kind, purposes in PURPOSES_OF_TYPE.items() if purpose in purposes),
        restart=_SERVICES[purpose],
        warnings=tuple(_warnings(purpose, secure=secure, signs_lists=signs_lists)),
    )


def _phones(purpose: Purpose, *, tftp_on_node: bool, groups: tuple[str, ...]) -> str:
    if purpose is Purpose.CALLMANAGER and tftp_on_node:
        return "All phones reset: TFTP runs on this node."
    if purpose is Purpose.TVS and groups:
        return f"Phones of these CallManager groups reset: {', '.join(groups)}."
    if purpose is Purpose.CAPF:
        return "All phones reset; LSCs issued by the old CAPF stay valid only while its certificate is trusted."
    if purpose is Purpose.ITL_RECOVERY:
        return "All phones reset to take the new trust lists."
    return "No phone resets."


def _warnings(purpose: Purpose, *, secure: bool, signs_lists: bool) -> list[str]:
    warnings = []
    if signs_lists:
        warnings.append(
            "It signs trust lists: phones take the new ones by asking TVS. Never replace the TVS certificate in the "
            "same night; phones that miss one of the two have to be erased by hand."
        )
    if purpose is Purpose.TVS:
        warnings.append(
            "Until phones hold the new ITL they refuse this TVS; leave the signers of the ITL alone meanwhile."
        )
    if secure and purpose in (Purpose.CALLMANAGER, Purpose.ITL_RECOVERY, Purpose.CAPF):
        warnings.append("The CTL names it: on a real cluster run 'utils ctl update CTLFile'.")
    return warnings
