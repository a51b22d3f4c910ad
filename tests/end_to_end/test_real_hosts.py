"""The published procedure on hosts of their own, at standard ports; then hosts fail at the worst moment.

The tests share one site (``conftest.TOGETHER`` keeps them on one worker; on two, each makes its own).
"""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from certferry.cluster.values import TrustEntry
from certferry.lab.keys import PooledKeys
from command_line import Ended
from real_hosts import soon
from real_site import Site, checks, finished, site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hosts() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture(scope="module")
def exchanged(hosts: Site, key_pool: PooledKeys) -> Site:
    """Two secure clusters that have exchanged their certificates, and phones of the source."""
    hosts.start(key_pool, secure=True)
    hosts.exchange()
    hosts.when_all_at(hosts.source.members[0])
    hosts.remember_flash()
    return hosts


@pytest.fixture
def secure(exchanged: Site) -> Site:
    """The same, whatever the test before did to it."""
    exchanged.bring_back()
    return exchanged


def refused(ended: Ended) -> str:
    """By which code a command was refused."""
    assert ended.code != 0, ended
    return str(ended.error["code"])


def moves_all_phones(hosts: Site) -> str:
    """Do part 2 of the published procedure; returns the id of the migration."""
    check = ["dhcp", "check", "--interface", "eth0", "--seconds", 4, "--expect", hosts.destination.tftp, "--json"]
    assert hosts.sftp.machine.host.certferry(*check).code == 4
    assert hosts.point_to(hosts.destination).code == 0
    assert hosts.sftp.machine.host.certferry(*check).code == 0
    verified = hosts.verify("--option150", hosts.destination.tftp)
    assert verified.code == 0, checks(verified)
    migration = hosts.plan("--wave-size", 12)
    done = hosts.migrate("start", migration, "--option150-confirmed")
    assert done.code == 0, done
    assert [wave["moved"] for wave in done.json["waves"]] == [2, 12, 12, 6]
    hosts.when_all_at(hosts.destination.members[0])
    assert hosts.hold_lists_of(hosts.destination)
    assert hosts.resets() == Counter(hosts.devices)
    return migration


def test_the_published_procedure_moves_all_phones_and_the_way_back_returns_them(secure: Site) -> None:
    migration = moves_all_phones(secure)
    here = secure.destination.publisher
    old, new = secure.source.place(here), secure.destination.place(here)
    assert secure.dhcp.machine.host.certferry("dhcp", "undo", *secure.dhcp.place, "--yes", "--json").code == 0
    ends = ["--source", old, "--destination", new]
    back = here.host.certferry("migrate", "back", migration, *ends, "--wave-size", 100, "--json")
    assert back.code == 0, back
    start = ["migrate", "start", back.json["migration"], "--source", new, "--option150-confirmed", "--json"]
    assert here.host.certferry(*start).code == 0
    secure.when_all_at(secure.source.members[0])
    assert secure.hold_lists_of(secure.source)


def test_phones_ask_the_second_tvs_when_the_first_is_down(secure: Site) -> None:
    first, second = secure.source.members
    first.kill_all()
    secure.when_all_at(second)
    secure.point_to(secure.destination)
    assert "tvs.unreachable" in secure.diagnose(secure.verify().stdout)
    moving, staying = secure.phones
    before = {device: staying.held(device) for device in staying.devices}
    done = secure.migrate("start", secure.plan(phones=moving.devices), "--option150-confirmed")
    assert done.code == 0, done
    at = secure.whereabouts()
    assert {at[device] for device in moving.devices} == {secure.destination.members[0].name}
    assert {at[device] for device in staying.devices} == {second.name}
    assert {device: staying.held(device) for device in staying.devices} == before
    soon(lambda: secure.tvs_asked(moving.devices) == {second.name})


def test_phones_whose_tvs_is_cut_off_in_mid_handshake_ask_the_next_one(secure: Site) -> None:
    first, second = secure.source.members
    secure.point_to(secure.destination)
    migration = secure.plan("--canary", 0, "--wave-size", 100)
    secure.dhcp.machine.freeze()
    start = ["migrate", "start", migration, *secure.ends, "--option150-confirmed", "--json"]
    runner = secure.begin(secure.source.publisher, *start)
    soon(lambda: secure.resets() == Counter(secure.devices))
    first.freeze()
    secure.dhcp.machine.thaw()
    soon(lambda: first.connections(2445) >= len(secure.devices) // 2)
    first.cable(plugged=False)

    assert "tvs.unreachable" in secure.diagnose(secure.verify().stdout)
    secure.source.change()
    done = finished(runner)
    assert done.code == 0, done
    secure.when_all_at(secure.destination.members[0])
    soon(lambda: secure.tvs_asked(secure.devices) == {second.name})
    assert first.name in checks(secure.verify())["replication.served"]
    first.mend()
    soon(secure.source.serve_the_latest)


def test_phones_take_the_second_address_of_option_150_when_the_first_tftp_node_is_down(secure: Site) -> None:
    down, up, _ = secure.destination.nodes
    secure.point_to(secure.destination)
    down.lose_power()
    assert "tftp.failed" in secure.diagnose(secure.verify().stdout)
    done = secure.migrate("start", secure.plan("--wave-size", 100), "--option150-confirmed")
    assert done.code == 0, done
    secure.when_all_at(up)
    down.mend()
    itl = secure.destination.ask(lambda cluster: cluster.trust_list("ITL", up.name))
    assert {held["ITLFile.tlv"] for held in secure.held().values()} == {itl}


def test_a_publisher_killed_in_mid_import_has_imported_nothing_and_imports_all_the_next_time(secure: Site) -> None:
    source, publisher, lagging = secure.source, secure.source.publisher, secure.source.members[1]
    whole = {kept(entry) for entry in source.ask(lambda cluster: cluster.trust_entries())}
    latest = source.did("bulk", "history")["history"][0]
    assert latest["action"] == "bulk import"
    source.did("bulk", "undo", latest["id"], "--yes")
    before = source.ask(lambda cluster: (cluster.trust_entries(), cluster.version(), cluster.history()))

    with source.database.connect(source.store) as administrator, administrator.transaction():
        administrator.execute("LOCK TABLE audit IN EXCLUSIVE MODE")  # what an import writes last has to wait
        command = ["bulk", "import", "all", "--yes", "--cluster", source.place(publisher), "--json"]
        killed = secure.begin(publisher, *command)
        soon(lambda: waiting(administrator))
        publisher.lose_power()
        assert finished(killed).code == -9
    publisher.mend()
    after = source.ask(lambda cluster: (cluster.trust_entries(), cluster.version(), cluster.history()))
    assert after == before

    source.start(publisher)
    refused_by_tvs(secure)
    lagging.cut_off_from(source.database.machine)
    source.did("bulk", "import", "all", "--yes")
    assert {kept(entry) for entry in source.ask(lambda cluster: cluster.trust_entries())} == whole
    source.did("audit", "verify")
    version = source.ask(lambda cluster: cluster.version())
    soon(lambda: source.ask(lambda cluster: cluster.served())[publisher.name] == version)
    lags = secure.verify()
    assert lagging.name in checks(lags)["replication.served"]
    assert "import.replication-lag" in secure.diagnose(lags.stdout)
    lagging.mend()
    soon(source.serve_the_latest)
    assert secure.verify().code == 0
    secure.when_all_at(source.members[0])


def refused_by_tvs(hosts: Site) -> None:
    """See that phones cannot go before the import: no reset, and those that boot by themselves keep what they had."""
    before, host = hosts.held(), hosts.phones[0]
    hosts.point_to(hosts.destination)
    halted = hosts.migrate("start", hosts.plan(), "--option150-confirmed")
    assert (halted.code, refused(halted)) == (4, "waves.preflight-failed")
    assert "tvs.invalid" in hosts.diagnose(halted.stdout)
    assert hosts.resets() == Counter()
    host.power_cut()
    soon(lambda: {event["device"] for event in host.happened() if event["event"] == "failed"} >= set(host.devices))
    hosts.when_all_at(hosts.source.members[0])
    assert hosts.held() == before
    assert host.log is not None
    assert "tvs.invalid" in hosts.diagnose(host.log.read_text())
    hosts.point_to(hosts.source)


def kept(entry: TrustEntry) -> tuple[str, str]:
    return entry.store.value, entry.certificate.sha256


def waiting(administrator: "psycopg.Connection[tuple[object, ...]]") -> bool:
    """Whether a writer waits for a lock."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return administrator.execute(asked).fetchone() != (0,)


def test_a_database_that_restarts_stops_no_phone_and_the_migration_goes_on(secure: Site) -> None:
    source, database = secure.source, secure.source.database
    secure.point_to(secure.destination)
    migration = secure.plan("--canary", 0, "--wave-size", 100, "--pace", 3)
    start = ["migrate", "start", migration, *secure.ends, "--option150-confirmed", "--json"]
    runner = secure.begin(source.publisher, *start)
    soon(lambda: secure.count_at(*secure.destination.nodes) >= 2)
    database.machine.lose_power()

    shown = source.run("cluster", "show")
    assert refused(shown) == "cluster.database"
    assert "cluster.database" in secure.diagnose(shown.stdout)
    nodes = ["--source", source.members[0].address, "--destination", secure.destination.tftp]
    phones = [word for host in secure.phones for word in ("--device", host.devices[-1])]
    rehearsed = source.publisher.host.certferry("rehearse", *nodes, *phones, "--json")
    assert rehearsed.code == 0, rehearsed
    soon(lambda: len(secure.whereabouts()) == len(secure.devices))
    assert not secure.all_at(*secure.destination.nodes)
    assert runner.poll() is None

    database.machine.mend()
    database.start()
    done = finished(runner)
    assert done.code == 0, done
    secure.when_all_at(secure.destination.members[0])
    assert secure.resets() == Counter(secure.devices)
    source.change()
    soon(source.serve_the_latest)


STOPS_IN_MID_UPLOAD = """
import os, signal, sys
from certferry.bulk.transport import SftpExchange
upload, done = SftpExchange._upload, []
async def stopping(self, name, data):
    await upload(self, name, data)
    done.append(name)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
SftpExchange._upload = stopping
from certferry.cli.main import run
run(sys.argv[1:])
"""


def has_stopped(process: "subprocess.Popen[str]") -> bool:
    """Whether a process stopped itself."""
    assert process.poll() is None, finished(process)
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_an_sftp_host_gone_in_mid_upload_leaves_nothing_broken_and_the_next_export_ends_right(secure: Site) -> None:
    destination, sftp = secure.destination, secure.sftp
    destination.ask(lambda cluster: cluster.set_setting("sftp.connect-timeout", "2"))  # a host that is gone is silent
    destination.did("cert", "regenerate", "tomcat", "--node", destination.publisher.name, "--yes")
    old = {file.name for file in sftp.directory.iterdir()}
    command = ["bulk", "export", "all", "--cluster", destination.place(destination.publisher), "--json"]
    exporting = secure.begin_program(destination.publisher, sys.executable, "-c", STOPS_IN_MID_UPLOAD, *command)
    soon(lambda: has_stopped(exporting) and {file.name for file in sftp.directory.iterdir()} > old)
    sftp.machine.lose_power()
    exporting.send_signal(signal.SIGCONT)
    broken = finished(exporting)
    code = refused(broken)
    assert code in secure.diagnose(broken.stdout)

    sftp.machine.mend()
    sftp.start()
    destination.did("bulk", "export", "all")
    listed = secure.source.did("bulk", "list")["files"]
    assert {file.name for file in sftp.directory.iterdir()} == old, listed
    secure.source.did("bulk", "consolidate", "all")
    planned = secure.source.run("bulk", "import", "all", "--plan")
    assert planned.code == 3, planned
    secure.source.did("bulk", "import", "all", "--yes")
    soon(secure.source.serve_the_latest)
    secure.when_all_at(secure.source.members[0])


def test_clusters_that_are_not_secure_do_the_same_with_an_itl_alone(hosts: Site, key_pool: PooledKeys) -> None:
    hosts.start_anew(key_pool, secure=False)
    hosts.exchange()
    hosts.when_all_at(hosts.source.members[0])
    assert not any("CTLFile.tlv" in held for held in hosts.held().values())
    moves_all_phones(hosts)
    soon(lambda: hosts.tvs_asked(hosts.devices) == {hosts.source.members[0].name})
