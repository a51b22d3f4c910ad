"""Purposes, stores and bulk types, and the roles TVS reports because of them: the tables the documents print."""

import pytest

from certferry.trust.purpose import OWN_COPIES, PURPOSES_OF_TYPE, STORES_OF_TYPE, BulkType, Purpose, Store
from certferry.trust.roles import ROLES_OF_PURPOSE, ROLES_OF_STORE, roles_of
from certferry.wire.roles import Role

NO_ROLES = [
    Store.CALLMANAGER_TRUST,
    Store.CAPF_TRUST,
    Store.TVS_TRUST,
    Store.IPSEC_TRUST,
    Store.DIRECTORY_TRUST,
    Store.USERLICENSING_TRUST,
]


class TestTables:
    def test_every_store_has_its_roles_and_every_purpose_too(self) -> None:
        assert set(ROLES_OF_STORE) == set(Store)
        assert set(ROLES_OF_PURPOSE) == set(Purpose)

    def test_every_bulk_type_has_purposes_and_stores(self) -> None:
        assert set(PURPOSES_OF_TYPE) == set(STORES_OF_TYPE) == set(BulkType)
        assert all(PURPOSES_OF_TYPE.values())
        assert all(STORES_OF_TYPE.values())

    def test_no_purpose_is_exported_under_two_types(self) -> None:
        exported = [purpose for purposes in PURPOSES_OF_TYPE.values() for purpose in purposes]
        assert len(exported) == len(set(exported))

    def test_tvs_and_ipsec_certificates_do_not_travel(self) -> None:
        exported = {purpose for purposes in PURPOSES_OF_TYPE.values() for purpose in purposes}
        assert exported == set(Purpose) - {Purpose.TVS, Purpose.IPSEC}

    def test_every_purpose_has_a_copy_in_some_trust_store(self) -> None:
        assert set(OWN_COPIES) == set(Purpose)
        assert all(OWN_COPIES.values())

    @pytest.mark.parametrize("purpose", Purpose)
    def test_a_purpose_is_elliptic_when_its_name_says_so(self, purpose: Purpose) -> None:
        assert purpose.is_ec == purpose.value.endswith("-ECDSA")

    @pytest.mark.parametrize("store", Store)
    def test_stores_carry_the_names_of_os_administration(self, store: Store) -> None:
        assert store.value.endswith("-trust")


class TestImportMapping:
    @pytest.mark.parametrize("bulk_type", [BulkType.TFTP, BulkType.ITL_RECOVERY])
    def test_signers_of_trust_lists_reach_the_store_that_makes_tvs_vouch(self, bulk_type: BulkType) -> None:
        assert set(STORES_OF_TYPE[bulk_type]) == {Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST}
        assert {Role.SAST, Role.TFTP} <= roles_of(STORES_OF_TYPE[bulk_type])

    def test_a_foreign_capf_gets_no_role(self) -> None:
        assert STORES_OF_TYPE[BulkType.CAPF] == (Store.CALLMANAGER_TRUST,)
        assert roles_of(STORES_OF_TYPE[BulkType.CAPF]) == frozenset()

    def test_a_foreign_tomcat_is_an_application_server(self) -> None:
        assert roles_of(STORES_OF_TYPE[BulkType.TOMCAT]) == {Role.APPLICATION_SERVER}


class TestRoles:
    @pytest.mark.parametrize(
        ("store", "roles"),
        [
            (Store.PHONE_SAST_TRUST, {0, 3}),
            (Store.TOMCAT_TRUST, {7}),
            (Store.PHONE_TRUST, {7}),
            (Store.PHONE_CTL_TRUST, {7}),
            (Store.PHONE_VPN_TRUST, {26}),
            *[(store, set()) for store in NO_ROLES],
        ],
    )
    def test_a_store_gives_the_published_roles(self, store: Store, roles: set[int]) -> None:
        assert ROLES_OF_STORE[store] == roles

    @pytest.mark.parametrize(
        ("purpose", "roles"),
        [
            (Purpose.CALLMANAGER, {2, 0}),
            (Purpose.TOMCAT, {7}),
            (Purpose.IPSEC, {7}),
            (Purpose.CAPF, {4}),
            (Purpose.TVS, {21}),
            (Purpose.ITL_RECOVERY, {0}),
        ],
    )
    def test_an_own_certificate_has_the_published_roles(self, purpose: Purpose, roles: set[int]) -> None:
        assert ROLES_OF_PURPOSE[purpose] == roles

    def test_callmanager_trust_alone_gives_a_phone_nothing(self) -> None:
        assert roles_of([Store.CALLMANAGER_TRUST]) == frozenset()

    def test_roles_of_several_stores_and_purposes_add_up(self) -> None:
        roles = roles_of([Store.PHONE_SAST_TRUST, Store.TOMCAT_TRUST], [Purpose.CALLMANAGER])
        assert roles == {Role.SAST, Role.TFTP, Role.APPLICATION_SERVER, Role.CALLMANAGER_TFTP}

    def test_a_certificate_nobody_holds_has_none(self) -> None:
        assert roles_of([]) == frozenset()

    def test_own_copies_do_not_take_a_role_away(self) -> None:
        for purpose, stores in OWN_COPIES.items():
            assert roles_of(stores, [purpose]) >= ROLES_OF_PURPOSE[purpose]
