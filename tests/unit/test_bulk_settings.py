"""The SFTP form: what is saved, what is sealed, what is refused, and what no message shows."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from bulk_lab import Cluster, make_cluster
from certferry.bulk.settings import Algorithms, SettingsMissingError, SettingsWrongError, SftpSettings
from certferry.bulk.wrapping import BundleUnreadableError, Wrapping, profile_for
from certferry.trust.purpose import Purpose
from certferry.trust.release import Release
from certferry.wire.pkcs12 import BundledCertificate, Profile
from conftest import MakeCertificate

FULL = SftpSettings(
    host="sftp.example",
    user="ferry",
    directory="/users/cisco",
    port=2222,
    password="hunter2",
    client_key=Path("/keys/id"),
    known_hosts=Path("/etc/known"),
    host_key="ssh-rsa AAAA",
    pkcs12_password="swordfish",
    algorithms=Algorithms("k1,k2", "+c1", "m1", "h1"),
    connect_timeout=3.5,
    request_timeout=7,
)


@pytest.fixture
def cluster(make_certificate: MakeCertificate, rsa_key: RSAPrivateKey) -> Cluster:
    return make_cluster(make_certificate, rsa_key, "source", nodes=("pub",))


@pytest.mark.parametrize("settings", [FULL, SftpSettings("h", "u", ".")])
def test_settings_load_as_they_were_saved(cluster: Cluster, settings: SftpSettings) -> None:
    settings.save(cluster)
    assert SftpSettings.load(cluster) == settings


def test_both_passwords_are_saved_as_secrets(cluster: Cluster) -> None:
    FULL.save(cluster)
    assert cluster.secret_settings == {"sftp.password", "sftp.pkcs12-password"}


def test_the_standard_port_is_22() -> None:
    assert SftpSettings("h", "u", "d").port == 22


def test_no_password_shows_in_text() -> None:
    assert "hunter2" not in repr(FULL) + FULL.url
    assert "swordfish" not in repr(FULL) + repr(Wrapping.of(FULL, ["other"]))
    assert FULL.url == "sftp://ferry@sftp.example:2222/users/cisco"


def test_a_cluster_without_settings_says_how_to_save_some(cluster: Cluster) -> None:
    with pytest.raises(SettingsMissingError, match="source has no SFTP settings") as refusal:
        SftpSettings.load(cluster)
    assert "bulk sftp" in refusal.value.remedy


@pytest.mark.parametrize(
    ("field", "value"), [("host", " "), ("user", ""), ("directory", ""), ("port", 0), ("port", 65536)]
)
def test_what_cannot_be_meant_is_refused(field: str, value: object) -> None:
    with pytest.raises(SettingsWrongError):
        replace(FULL, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"), [("sftp.port", "ssh"), ("sftp.connect-timeout", "soon"), ("sftp.request-timeout", "0")]
)
def test_saved_settings_that_somebody_spoiled_are_refused(cluster: Cluster, key: str, value: str) -> None:
    FULL.save(cluster)
    cluster.set_setting(key, value)
    with pytest.raises(SettingsWrongError):
        SftpSettings.load(cluster)


@pytest.mark.parametrize(
    ("releases", "profile"),
    [
        (("15",), Profile.MODERN),
        (("12.5.1", "10.5.2"), Profile.LEGACY),
        (("11.0", "14"), Profile.MODERN),
        (("10.0", "15"), Profile.LEGACY),
    ],
)
def test_the_oldest_release_decides_on_the_profile(releases: tuple[str, ...], profile: Profile) -> None:
    assert profile_for(map(Release.parse, releases)) == profile


def test_a_file_opens_with_any_of_the_passwords_and_names_itself_when_none_fits(cluster: Cluster) -> None:
    certificate = BundledCertificate(cluster.certificate(Purpose.TOMCAT), "a")
    data = Wrapping("one").close([certificate], [Release(15)])
    assert Wrapping("two", ("one",)).open("f.p12", data).certificates == (certificate,)
    with pytest.raises(BundleUnreadableError, match=r"f\.p12") as refusal:
        Wrapping("two", ("three",)).open("f.p12", data)
    assert "three" not in str(refusal.value)


@pytest.mark.parametrize(
    ("profile", "marker"), [(Profile.LEGACY, "2a864886f70d010c0103"), (Profile.MODERN, "2a864886f70d01050d")]
)
def test_a_chosen_profile_overrides_the_releases(cluster: Cluster, profile: Profile, marker: str) -> None:
    certificate = BundledCertificate(cluster.certificate(Purpose.TOMCAT), "a")
    data = Wrapping("one", profile=profile).close([certificate], [Release(10), Release(15)])
    assert bytes.fromhex(marker) in data
