"""Two web servers behind one name: each request goes to the other one, and everything counts once all the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from certferry.bulk import importing
from certferry.bulk.settings import SftpSettings
from certferry.cluster.cluster import Cluster
from certferry.cluster.web_jobs import JobState
from certferry.serve.lab_sftp import LabSftp
from certferry.trust.purpose import Purpose
from certferry.web.jobs import LEASE
from certferry.web.plans import LIFE, MOST, PlanUnknownError, find, keep
from conftest import MakeCluster
from waiting import until
from web_pages import Drawn, Reader, read
from web_site import PASSWORD, START, Site

BULK = "/security/bulk"
SECRET = "walrus-and-carpenter"


class Balanced(httpx.AsyncBaseTransport):
    """What stands before the servers, and gives each request to the next one."""

    def __init__(self, *sites: Site) -> None:
        self.sites = sites
        self._next = cycle(sites)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        server = httpx.ASGITransport(next(self._next).app, raise_app_exceptions=False)
        return await server.handle_async_request(request)


@pytest.fixture
async def sftp(tmp_path: Path) -> AsyncIterator[LabSftp]:
    (tmp_path / "sftp" / "exchange").mkdir(parents=True)
    server = LabSftp(tmp_path / "sftp", "carol", SECRET)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
def clusters(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Cluster, Cluster]:
    monkeypatch.setenv("HOME", str(tmp_path))
    return make_cluster("source", nodes=2), make_cluster("destination", "14", nodes=2)


@pytest.fixture
async def pair(clusters: tuple[Cluster, Cluster]) -> AsyncIterator[tuple[Site, Site]]:
    """Two servers of the source's publisher."""
    source, _ = clusters
    first = Site(source)
    second = Site(source, clock=first.clock, with_users=False)
    yield first, second
    for site in (first, second):
        await site.ended()


@pytest.fixture
async def ann(pair: tuple[Site, Site]) -> AsyncIterator[Reader]:
    async with logged_in(*pair) as reader:
        yield reader


@asynccontextmanager
async def logged_in(*sites: Site) -> AsyncIterator[Reader]:
    async with httpx.AsyncClient(transport=Balanced(*sites), base_url="https://pub") as client:
        reader = Reader(client)
        await reader.send(await reader.open("/login"), "/login", name="ann", password=PASSWORD)
        yield reader


def typed(sftp: LabSftp, **other: str) -> dict[str, str]:
    host, port = sftp.address
    right = {"host": host, "port": str(port), "user": "carol", "password": SECRET, "directory": "/exchange"}
    return right | other


async def press(reader: Reader, button: str) -> Drawn:
    job = await reader.send(await reader.open(f"{BULK}/{button}"), f"{BULK}/{button}", type="all")
    return await ended(reader, job.path)


async def ended(reader: Reader, path: str) -> Drawn:
    """Follow a job to its end, wherever it runs, and look at it."""
    await reader.client.get(f"/api/v1/jobs/{path.rpartition('/')[2]}/events")
    return await reader.open(path)


@pytest.fixture
async def plan(ann: Reader, clusters: tuple[Cluster, Cluster], sftp: LabSftp) -> Drawn:
    """An import that is planned and shown."""
    asked = await ann.send(await ann.open(BULK), f"{BULK}/settings", **typed(sftp))
    await ann.send(asked, f"{BULK}/settings", **typed(sftp, password=""), **{"host-key": sftp.fingerprint})
    _, destination = clusters
    SftpSettings.load(clusters[0]).save(destination)
    async with logged_in(Site(destination)) as there:
        await press(there, "export")
    await press(ann, "export")
    await press(ann, "consolidate")
    shown = await press(ann, "import")
    assert "Nothing has changed yet." in shown.text
    return shown


async def test_the_published_procedure_goes_through_two_servers_as_through_one(
    ann: Reader, plan: Drawn, clusters: tuple[Cluster, Cluster]
) -> None:
    done = await ended(ann, (await ann.send(plan, f"{plan.path}/import")).path)
    assert "Successfully imported" in done.text
    assert len(clusters[0].history()) == 1


async def test_a_plan_is_carried_out_once_when_two_servers_get_the_click_at_once(
    ann: Reader, plan: Drawn, pair: tuple[Site, Site], clusters: tuple[Cluster, Cluster]
) -> None:
    answers = await asyncio.gather(*(ann.post(plan, f"{plan.path}/import") for _ in range(6)))
    places = {answer.headers["location"] for answer in answers}
    await ended(ann, places.pop())
    assert places == set()
    assert len(clusters[0].history()) == 1
    await until(lambda: any(map(_imports, pair)))  # counted after its end is kept, which the other server may tell
    assert sum(count for site in pair for count in _imports(site)) == 1


def _imports(site: Site) -> list[int]:
    return [count for (kind, _), count in site.app.state.jobs.ended.items() if kind == "import"]


async def test_programs_and_people_who_want_the_same_plan_get_the_same_job(
    ann: Reader, plan: Drawn, pair: tuple[Site, Site]
) -> None:
    identifier = (await pair[0].app.state.jobs.find(plan.path.rpartition("/")[2])).result["plan"]
    page = (await ann.send(plan, f"{plan.path}/import")).path
    await ended(ann, page)
    async with pair[1].with_token() as program:
        again = await program.post("/api/v1/bulk/import", json={"plan": identifier})
        assert again.json()["id"] == page.rpartition("/")[2]
        late = await program.post(
            "/api/v1/bulk/import", json={"plan": identifier}, headers={"idempotency-key": "another click"}
        )
    assert late.json()["error"]["code"] == "web.plan-unknown"


async def test_a_plan_outlives_the_server_that_made_it(
    plan: Drawn, pair: tuple[Site, Site], clusters: tuple[Cluster, Cluster]
) -> None:
    for site in pair:
        site.restart()
    async with logged_in(*pair) as reader:
        shown = await reader.open(plan.path)
        done = await ended(reader, (await reader.send(shown, f"{plan.path}/import")).path)
    assert "Successfully imported" in done.text
    assert len(clusters[0].history()) == 1


async def test_an_import_that_broke_off_with_its_server_is_clicked_once_more(
    ann: Reader,
    plan: Drawn,
    pair: tuple[Site, Site],
    clusters: tuple[Cluster, Cluster],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, identifier = clusters[0], plan.path.rpartition("/")[2]
    wanted = (await pair[0].app.state.jobs.find(identifier)).result["plan"]
    killed = Site(source, clock=pair[0].clock, with_users=False)
    monkeypatch.setattr(killed.app.state.jobs, "_run_in_background", lambda *_: None)  # it dies before it has begun
    async with logged_in(killed) as reader:
        broken = (await reader.send(await reader.open(plan.path), f"{plan.path}/import")).path
    pair[0].clock.now += LEASE + timedelta(seconds=1)
    assert "stopped in the middle" in (await ended(ann, broken)).text
    again = await ann.send(plan, f"{plan.path}/import")
    assert again.path != broken
    assert "Successfully imported" in (await ended(ann, again.path)).text
    assert (await ann.send(plan, f"{plan.path}/import")).path == again.path
    assert len(source.history()) == 1
    assert (await pair[1].app.state.jobs.find_key(f"plan:{wanted}")).state is JobState.INTERRUPTED


async def test_a_certificate_is_regenerated_once_when_two_servers_get_the_click_at_once(
    ann: Reader, clusters: tuple[Cluster, Cluster]
) -> None:
    before = clusters[0].identity(Purpose.TVS, "source-pub")
    address = "/security/certificate/regenerate/TVS/source-pub"
    asked = await ann.open(address)
    answers = await asyncio.gather(*(ann.post(asked, address) for _ in range(4)))
    shown = {read(await ann.client.get(answer.headers["location"])).text for answer in answers}
    after = clusters[0].identity(Purpose.TVS, "source-pub")
    assert after != before
    assert all(after.certificate.serial_hex in text for text in shown)
    assert len([line for line in clusters[0].audit_lines() if '"regenerate"' in line]) == 1


async def test_a_password_typed_at_one_server_is_known_to_the_other_and_never_in_clear(
    ann: Reader, clusters: tuple[Cluster, Cluster], sftp: LabSftp, tmp_path: Path
) -> None:
    asked = await ann.send(await ann.open(BULK), f"{BULK}/settings", **typed(sftp))
    assert SECRET not in asked.answer.text
    saved = await ann.send(asked, f"{BULK}/settings", **typed(sftp, password=""), **{"host-key": sftp.fingerprint})
    assert saved.status == 200
    assert SftpSettings.load(clusters[0]).password == SECRET
    if clusters[0].location.server is None:
        files = [file for file in tmp_path.joinpath("source").iterdir() if file.is_file()]
        assert not any(SECRET.encode() in file.read_bytes() for file in files)


async def test_the_text_of_a_new_token_is_shown_once_by_whichever_server(ann: Reader, pair: tuple[Site, Site]) -> None:
    answer = await ann.post(await ann.open("/settings/tokens"), "/settings/tokens", name="watcher", days="1")
    texts = [read(await ann.client.get(answer.headers["location"])).text for _ in range(3)]
    shown = [word for word in texts[0].split() if word.startswith("certferry_") and "…" not in word]
    assert len(shown) == 1
    assert not any(shown[0] in text for text in texts[1:])
    for site in pair:
        async with site.visitor(authorization=f"Bearer {shown[0]}") as program:
            assert (await program.get("/api/v1/cluster")).status_code == 200


async def test_wrong_passwords_count_at_both_servers_together_and_when_they_start_anew(pair: tuple[Site, Site]) -> None:
    async def try_to_log_in(password: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=Balanced(*pair), base_url="https://pub") as client:
            return await client.post("/api/v1/session", json={"name": "ann", "password": password})

    assert [(await try_to_log_in("wrong")).status_code for _ in range(5)] == [401] * 5
    for site in pair:
        async with site.visitor() as client:
            answer = await client.post("/api/v1/session", json={"name": "ann", "password": PASSWORD})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "300")
        site.restart()
        assert (await try_to_log_in(PASSWORD)).status_code == 429
    pair[0].clock.pass_by(minutes=5)
    assert (await try_to_log_in(PASSWORD)).status_code == 200


@pytest.fixture
def made(clusters: tuple[Cluster, Cluster]) -> importing.ImportPlan:
    return importing.ImportPlan((), (), (), {}, (), "")


def test_a_plan_is_kept_for_a_day(clusters: tuple[Cluster, Cluster], made: importing.ImportPlan) -> None:
    identifier = keep(clusters[0], made, START)
    assert find(clusters[0], identifier, START + LIFE - timedelta(seconds=1)) == made
    with pytest.raises(PlanUnknownError):
        find(clusters[0], identifier, START + LIFE)


def test_a_plan_is_for_one_cluster(clusters: tuple[Cluster, Cluster], made: importing.ImportPlan) -> None:
    identifier = keep(clusters[0], made, START)
    with pytest.raises(PlanUnknownError, match=r"no plan .* for destination"):
        find(clusters[1], identifier, START)


def test_the_oldest_plans_go_when_there_are_many(clusters: tuple[Cluster, Cluster], made: importing.ImportPlan) -> None:
    kept = [keep(clusters[0], made, START + timedelta(seconds=number)) for number in range(MOST + 2)]
    now, gone = START + timedelta(hours=1), []
    for identifier in kept:
        try:
            find(clusters[0], identifier, now)
        except PlanUnknownError:
            gone.append(identifier)
    assert gone == kept[:2]


@pytest.mark.parametrize("identifier", ["", "\x00", "plan'--", "鍵" * 64])
def test_an_id_may_be_anything(clusters: tuple[Cluster, Cluster], identifier: str) -> None:
    with pytest.raises(PlanUnknownError):
        find(clusters[0], identifier, START)
