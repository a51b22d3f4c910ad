"""Do the TFTP nodes answer, do they say the same over both protocols, do they know the phones; option 150."""

from collections.abc import Iterator, Sequence

from certferry.migrate.seen import Seen, SideName, judged
from certferry.migrate.side import ServedFile, SideView, TftpNode, readable
from certferry.phone.decision import Kind
from certferry.trust.list_check import Check, Verdict
from certferry.wire.signed_file import SUFFIX

_TOLD = 5


def reach_checks(seen: Seen) -> Iterator[Check]:
    """Everything about reaching files."""
    for name, side in seen.sides():
        yield from node_checks(name, side)
        yield from (_same(name, node) for node in side.alive)
    yield from flash_checks(seen.source, seen.source.devices)
    yield from device_checks(seen.destination)
    yield option150(seen)


def node_checks(name: SideName, side: SideView) -> Iterator[Check]:
    """Judge whether every TFTP node of one side answers: over TFTP, over HTTP."""
    for node in side.nodes:
        yield _tftp(name, node, others_alive=any(other.alive for other in side.nodes))
        if node.endpoint.http_port is not None:
            yield _http(name, node)


def _tftp(name: SideName, node: TftpNode, *, others_alive: bool) -> Check:
    title = f"{name} {node.endpoint}: TFTP answers"
    silent = next((file.tftp for file in node.files.values() if file.tftp.state == "silent"), None)
    if node.endpoint.tftp_port is None:
        return judged("tftp.reachable", title, "unknown", "only HTTP was asked", "Name the node as HOST or HOST:PORT.")
    if silent is None:
        return judged("tftp.reachable", title, "pass", f"{_count(node)} files served")
    remedy = (
        f"Check that Cisco Tftp runs on {node.endpoint.host} (utils service list) and that UDP "
        f"{node.endpoint.tftp_port} with the high ports passes the firewall from the phones' network."
    )
    note = silent.note if node.alive or not others_alive else f"{silent.note}; phones ask the next of option 150"
    return judged("tftp.reachable", title, "warn" if others_alive else "fail", note, remedy)


def _http(name: SideName, node: TftpNode) -> Check:
    title = f"{name} {node.endpoint}: HTTP {node.endpoint.http_port} answers"
    asked = [file.http for file in node.files.values() if file.http.state != "not asked"]
    if any(each.state in ("served", "missing") for each in asked):
        return judged("http.reachable", title, "pass", f"{sum(e.state == 'served' for e in asked)} files served")
    note = asked[0].note if asked else "not asked"
    remedy = (
        f"Open TCP {node.endpoint.http_port}. Phones of firmware 12.5 and later ask there first and fall back to TFTP."
    )
    return judged("http.reachable", title, "warn", note, remedy)


def _same(name: SideName, node: TftpNode) -> Check:
    title = f"{name} {node.endpoint}: TFTP and HTTP serve the same files"
    both = [file for file in node.files.values() if "served" in (file.tftp.state, file.http.state)]
    compared = [file for file in both if file.tftp.state == "served" and file.http.state == "served"]
    differing = [file.name for file in both if _differs(file)]
    if differing:
        remedy = f"Restart Cisco Tftp on {node.endpoint.host}: utils service restart Cisco Tftp"
        return judged("file.same", title, "fail", f"they differ for {', '.join(differing[:_TOLD])}", remedy)
    if not compared:
        return judged("file.same", title, "unknown", "no file was served over both", "Open both ports to this machine.")
    return judged("file.same", title, "pass", f"{len(compared)} files compared")


def _differs(file: ServedFile) -> bool:
    states = {file.tftp.state, file.http.state}
    return states == {"served", "missing"} or (states == {"served"} and file.tftp.data != file.http.data)


def _count(node: TftpNode) -> int:
    return sum(file.tftp.state == "served" for file in node.files.values())


def flash_checks(source: SideView, devices: Sequence[str]) -> Iterator[Check]:
    """Judge whether it is known what phones of the source hold: ITL, CTL, configuration."""
    device = devices[0] if devices else None
    itl = source.trust_list(Kind.ITL, device)
    known = readable(itl)
    remedy = "Name a TFTP node of the source that answers, or give the list that phones hold with --held-itl FILE."
    if itl is None or known is None:
        verdict: Verdict = "unknown" if itl is None and not source.alive else "fail"
        evidence = "the source served none" if itl is None else "it cannot be read"
        yield judged("source.itl", "Phones of the source hold a valid ITL", verdict, evidence, remedy)
    else:
        evidence = f"{len(itl)} bytes, signed by {known.signer}"
        yield judged("source.itl", "Phones of the source hold a valid ITL", "pass", evidence)
    if devices:
        yield _configurations(source, devices)


def _configurations(source: SideView, devices: Sequence[str]) -> Check:
    title = "The source serves a configuration for every phone: it names the TVS they ask"
    without = [device for device in devices if source.configuration(device) is None]
    if not without:
        return judged("source.configuration", title, "pass", f"{len(devices)} of {len(devices)}")
    remedy = "Check the device names: certferry phone list, or Device > Phone at the source."
    return judged("source.configuration", title, "warn", f"none for {_some(without)}", remedy)


def device_checks(destination: SideView) -> Iterator[Check]:
    """Judge whether the destination has the phones' own files."""
    title = "The destination knows the phone"
    if not destination.devices:
        remedy = "Run it with --device SEP<MAC> (repeat it) or --devices FILE.csv."
        yield judged("device.known", "The destination knows the phones", "unknown", "no device was named", remedy)
    for device in destination.devices:
        known = destination.knows(device)
        served = _served(destination, device)
        remedy = (
            f"Add {device} at the destination: Device > Phone > Add New, Bulk Administration, or 'certferry phone add'."
        )
        evidence = f"it serves {', '.join(served)}" if served else "it has no file of that name"
        if known is None:
            yield judged("device.known", f"{title} {device}", "unknown", "no node answered", "Mend reachability first.")
        else:
            yield judged("device.known", f"{title} {device}", known, evidence, remedy)
        if known:
            yield _configuration(destination, device)


def _configuration(destination: SideView, device: str) -> Check:
    title = f"The destination has a signed configuration for {device}"
    name = f"{device}.cnf.xml{SUFFIX}"
    have = [str(node.endpoint) for node in destination.alive if node.data(name)]
    lack = [str(node.endpoint) for node in destination.alive if name in node.files and node.files[name].is_missing]
    remedy = "Apply Config for the phone at the destination, or restart Cisco Tftp on the node that lacks it."
    evidence = f"{name}: " + "; ".join(
        part for part in (f"on {_some(have)}" if have else "", f"not on {_some(lack)}" if lack else "") if part
    )
    return judged("configuration.present", title, bool(have) and not lack, evidence, remedy)


def _served(side: SideView, device: str) -> list[str]:
    return sorted(
        {name for node in side.alive for name, file in node.files.items() if device in name and file.data is not None}
    )


def option150(seen: Seen) -> Check:
    """Compare what DHCP names with the TFTP nodes that answered."""
    title = "Option 150 names TFTP nodes of the destination"
    remedy = (
        "Set option 150 of the phones' scope to destination TFTP nodes: certferry dhcp set, "
        "or certferry dhcp snippet --for SERVER --tftp IP,IP"
    )
    if seen.option150 is None:
        how = "Run it with --option150 IP,IP as the DHCP scope will have it."
        return judged("option150", title, "unknown", "what DHCP will say was not given", how)
    alive = {node.endpoint.host for node in seen.destination.alive}
    of_source = {node.endpoint.host for node in seen.source.nodes}
    foreign = [host for host in seen.option150 if host not in alive]
    evidence = f"{', '.join(seen.option150)}; TFTP nodes seen: {', '.join(sorted(alive)) or 'none'}"
    if not seen.option150 or any(host in of_source - alive for host in foreign):
        return judged("option150", title, "fail", evidence, remedy)
    return judged("option150", title, not foreign, evidence, remedy)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_TOLD])
    return shown if len(names) <= _TOLD else f"{shown} and {len(names) - _TOLD} more"
