"""Whatever is wrong inside a file named on the command line, the refusal says which file."""

from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from command_line import certferry
from conftest import MakeCluster


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster("source", nodes=1)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("trustlist show {}", "wire.truncated"),
        ("trustlist verify {}", "wire.truncated"),
        ("trustlist verify {itl} --trusted {}", "wire.truncated"),
        ("tvs ask 127.0.0.1 {pem} --trusted {}", "wire.truncated"),
        ("tvs ask 127.0.0.1 {}", "wire.certificate"),
        ("unsign {} --to -", "wire.truncated"),
        ("cert upload {} --store tomcat-trust --yes --cluster {cluster}", "wire.certificate"),
        ("cert upload {} --purpose tomcat --yes --cluster {cluster}", "wire.certificate"),
        ("phone import {} --cluster {cluster}", "cluster.phone-invalid"),
        ("migrate plan --source {cluster} --destination {other} --csv {}", "cluster.phone-invalid"),
        ("rehearse --source 127.0.0.1 --destination 127.0.0.2 --devices {}", "cluster.phone-invalid"),
        ("verify --source 127.0.0.1 --destination 127.0.0.2 --held-ctl {}", "wire.truncated"),
    ],
)
def test_the_file_at_fault_is_named(
    words: str, code: str, cluster: Cluster, make_cluster: MakeCluster, tmp_path: Path
) -> None:
    itl, pem, faulty = (tmp_path / name for name in ("ITLFile.tlv", "asked.pem", "faulty.file"))
    itl.write_bytes(cluster.trust_list("ITL", "source-pub") or b"")
    assert certferry("cert", "download", "TVS", "--to", pem, "--cluster", cluster.location.text).code == 0
    faulty.write_text("device,model\nSEPno,1\n")
    other = make_cluster("destination", nodes=1).location.text if "{other}" in words else ""
    given = words.format(faulty, itl=itl, pem=pem, cluster=cluster.location.text, other=other).split()
    ended = certferry(*given, "--json")
    assert ended.code in (1, 2)
    assert ended.error["code"] == code
    assert ended.error["sentence"].startswith(f"{faulty}: ")
    assert str(faulty) not in ended.error["sentence"].removeprefix(f"{faulty}: ")
