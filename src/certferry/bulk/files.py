"""Names in the exchange directory, and back: which cluster, which node, which certificate type.

Unified CM's own file names are not published (bulk 9), so these are ours::

    source_pub_tomcat.p12          certificates of one type of one node
    consolidated_tomcat.p12        the same of all clusters in one file
    source.manifest.json           what the cluster exported, signed by it
    consolidated_tomcat.manifest.json
    source.lock  consolidated.lock somebody is writing
    .source_pub_tomcat.p12.<16 hex>.part   a file not yet whole

Cluster and node names keep letters, digits, ``.`` and ``-``; every other byte is written ``%5F`` like, so that
``_`` only ever parts the three pieces.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from certferry.errors import UsageError
from certferry.trust.purpose import BulkType

CONSOLIDATED = "consolidated"
LONGEST_NAME = 200
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.(?:part|aside)")
_BUNDLE = re.compile(r"(?P<cluster>[^_]+)_(?P<node>[^_]+)_(?P<type>[a-z]+)\.p12")
_TOGETHER = re.compile(rf"{CONSOLIDATED}_(?P<type>[a-z]+)\.p12")
_TYPES = {str(bulk_type): bulk_type for bulk_type in BulkType}


class NameUnusableError(UsageError):
    """A cluster or node name that no file can be named after."""

    code = "bulk.name"
    remedy = "Give clusters and nodes short, non-empty names; host names are best."


@dataclass(frozen=True, slots=True)
class BundleName:
    """A PKCS#12 file that certferry names: one node's certificates of one type, or all clusters' (both None)."""

    bulk_type: BulkType
    cluster: str | None = None
    node: str | None = None

    @property
    def is_consolidated(self) -> bool:
        """Whether the file holds the certificates of all clusters."""
        return self.cluster is None

    @property
    def text(self) -> str:
        """The file name."""
        if self.cluster is None or self.node is None:
            return f"{CONSOLIDATED}_{self.bulk_type}.p12"
        return _checked(f"{quoted(self.cluster)}_{quoted(self.node)}_{self.bulk_type}.p12")

    @classmethod
    def parse(cls, text: str) -> "BundleName | None":
        """Read a file name; None for a file that certferry did not name."""
        if found := _TOGETHER.fullmatch(text):
            return cls(_TYPES[found["type"]]) if found["type"] in _TYPES else None
        found = _BUNDLE.fullmatch(text)
        if not found or found["type"] not in _TYPES:
            return None
        name = cls(_TYPES[found["type"]], unquote(found["cluster"]), unquote(found["node"]))
        return name if _names_itself(name, text) else None


def quoted(name: str) -> str:
    """Write a cluster or node name so that it fits between two ``_``; ``urllib.parse.unquote`` reads it back."""
    text = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode())
    if text.startswith(".") or text.casefold() == CONSOLIDATED:
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if not text:
        raise NameUnusableError("a cluster or node has an empty name")
    if "\0" in name:
        raise NameUnusableError(f"{name!r} has a NUL inside")
    return text


def manifest_name(cluster: str) -> str:
    """Name the manifest of what ``cluster`` exported."""
    return _checked(f"{quoted(cluster)}.manifest.json")


def consolidated_manifest_name(bulk_type: BulkType) -> str:
    """Name the manifest of a consolidated file."""
    return f"{CONSOLIDATED}_{bulk_type}.manifest.json"


def cluster_of_manifest(text: str) -> str | None:
    """Tell whose export a manifest describes; None when the name is not that of an export's manifest."""
    stem = text.removesuffix(".manifest.json")
    if stem in ("", text) or "_" in stem:
        return None
    cluster = unquote(stem)
    return cluster if _manifest_names(cluster, text) else None


def lock_name(cluster: str | None) -> str:
    """Name the lock of one cluster's export, or of consolidation (None)."""
    return _checked(f"{CONSOLIDATED if cluster is None else quoted(cluster)}.lock")


def temporary_name(name: str, token: str) -> str:
    """Name the file that becomes ``name`` once it is whole; ``token`` is 16 hex digits nobody else chose."""
    return f".{name}.{token}.part"


def aside_name(temporary: str) -> str:
    """Name under which the old file steps aside on a server that cannot replace a file in one step."""
    return temporary.removesuffix(".part") + ".aside"


def final_name(text: str) -> str | None:
    """Tell which file a temporary name stands for; None when it is not a temporary name."""
    found = _TEMPORARY.fullmatch(text)
    return found["name"] if found else None


def is_plain_name(text: str) -> bool:
    """Whether a name that a server sent is just a name: not a path, not a special entry, printable."""
    return text not in (".", "..") and "/" not in text and text.isprintable()


def is_bundle_of(text: str, cluster: str) -> bool:
    """Whether a file is one that ``cluster`` exported."""
    bundle = BundleName.parse(text)
    return bundle is not None and bundle.cluster == cluster


def is_consolidated(text: str) -> bool:
    """Whether a file is a consolidated one or the manifest of one."""
    return text in _CONSOLIDATED_NAMES


def _checked(text: str) -> str:
    if len(text) > LONGEST_NAME:
        raise NameUnusableError(f"the file name {text[:40]}... would be {len(text)} characters long")
    return text


def _names_itself(name: BundleName, text: str) -> bool:
    try:
        return name.text == text
    except (NameUnusableError, UnicodeEncodeError):
        return False


def _manifest_names(cluster: str, text: str) -> bool:
    try:
        return manifest_name(cluster) == text
    except (NameUnusableError, UnicodeEncodeError):
        return False


_CONSOLIDATED_NAMES = frozenset(
    name for bulk_type in BulkType for name in (BundleName(bulk_type).text, consolidated_manifest_name(bulk_type))
)
