"""Which certificates a node owns, which stores a cluster has, and which bulk type carries which certificate."""

from enum import StrEnum


class Purpose(StrEnum):
    """What a node's own certificate is for (OS Administration > Certificate Management, *own*)."""

    CALLMANAGER = "CallManager"
    CALLMANAGER_ECDSA = "CallManager-ECDSA"
    TOMCAT = "tomcat"
    TOMCAT_ECDSA = "tomcat-ECDSA"
    CAPF = "CAPF"
    TVS = "TVS"
    ITL_RECOVERY = "ITLRecovery"
    IPSEC = "ipsec"

    @property
    def is_ec(self) -> bool:
        """Whether the key is elliptic; such a certificate's common name is ``<host>-EC``."""
        return self in (Purpose.CALLMANAGER_ECDSA, Purpose.TOMCAT_ECDSA)


class Store(StrEnum):
    """A trust store; the same on all nodes of a cluster."""

    CALLMANAGER_TRUST = "CallManager-trust"
    TOMCAT_TRUST = "tomcat-trust"
    PHONE_SAST_TRUST = "Phone-SAST-trust"
    CAPF_TRUST = "CAPF-trust"
    TVS_TRUST = "TVS-trust"
    IPSEC_TRUST = "ipsec-trust"
    DIRECTORY_TRUST = "directory-trust"
    PHONE_TRUST = "Phone-trust"
    PHONE_CTL_TRUST = "Phone-CTL-trust"
    PHONE_VPN_TRUST = "Phone-VPN-trust"
    USERLICENSING_TRUST = "userlicensing-trust"


class BulkType(StrEnum):
    """A *Certificate Type* of bulk certificate management, without ``all``, which means every one of them."""

    TOMCAT = "tomcat"
    TFTP = "tftp"
    CAPF = "capf"
    ITL_RECOVERY = "itlrecovery"


PURPOSES_OF_TYPE: dict[BulkType, tuple[Purpose, ...]] = {
    BulkType.TOMCAT: (Purpose.TOMCAT, Purpose.TOMCAT_ECDSA),
    BulkType.TFTP: (Purpose.CALLMANAGER, Purpose.CALLMANAGER_ECDSA),
    BulkType.CAPF: (Purpose.CAPF,),
    BulkType.ITL_RECOVERY: (Purpose.ITL_RECOVERY,),
}
"""What each type exports. That the EC twins travel with their RSA sisters is deduced (bulk 1.5, INF)."""

STORES_OF_TYPE: dict[BulkType, tuple[Store, ...]] = {
    BulkType.CAPF: (Store.CALLMANAGER_TRUST,),
    BulkType.TOMCAT: (Store.TOMCAT_TRUST,),
    BulkType.TFTP: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
    BulkType.ITL_RECOVERY: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
}
"""Where an imported certificate of each type goes (bulk 3.1: documented, the same from 10.5 to 15)."""

OWN_COPIES: dict[Purpose, tuple[Store, ...]] = {
    Purpose.CALLMANAGER: (Store.CALLMANAGER_TRUST, Store.PHONE_SAST_TRUST),
    Purpose.CALLMANAGER_ECDSA: (Store.CALLMANAGER_TRUST,),
    Purpose.TOMCAT: (Store.TOMCAT_TRUST,),
    Purpose.TOMCAT_ECDSA: (Store.TOMCAT_TRUST,),
    Purpose.CAPF: (Store.CAPF_TRUST, Store.CALLMANAGER_TRUST),
    Purpose.TVS: (Store.TVS_TRUST,),
    Purpose.ITL_RECOVERY: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
    Purpose.IPSEC: (Store.IPSEC_TRUST,),
}
"""Trust stores that hold a copy of the cluster's own certificate (bulk 3.4; the exact list is deduced)."""
