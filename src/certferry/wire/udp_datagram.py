"""A UDP datagram in an IPv4 packet (RFC 791, 768), for those who have no address yet and so no UDP socket.

::

    offset  length
       0      1    version (4) and header length in words
       1      1    service
       2      2    length of the packet
       4      2    identification
       6      2    flags and fragment offset
       8      1    time to live
       9      1    17: UDP
      10      2    checksum of the header
      12      4    source address
      16      4    destination address
      20      n    options
     20+n     2    source port
     22+n     2    destination port
     24+n     2    length of the datagram, these eight bytes with it
     26+n     2    checksum; 0 where there is none
     28+n     m    payload
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct
from typing import Self

from certferry.errors import MalformedError

_IP = Struct(">BBHHHBBH4s4s")
_UDP = Struct(">HHHH")
_VERSION_AND_WORDS = 0x45
_DONT_FRAGMENT = 0x4000
_FRAGMENTED = 0x3FFF
_HOPS = 64
_PROTOCOL = 17
_LARGEST = 65535


class UdpMalformedError(MalformedError):
    """The bytes are not one whole UDP datagram in an IPv4 packet."""

    code = "wire.udp"
    remedy = "Nothing is to be done: other traffic of the network is passed over."


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """Who sends what to whom."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    payload: bytes

    @classmethod
    def parse(cls, packet: bytes) -> Self:
        """Read a packet; raise ``UdpMalformedError``.

        The checksum of UDP is not looked at: packets from the same machine come before theirs is made.
        """
        if len(packet) < _IP.size:
            raise UdpMalformedError(f"a packet of {len(packet)} bytes ends inside the header of {_IP.size}")
        first, _, length, _, flags, _, protocol, _, source, destination = _IP.unpack_from(packet)
        head = (first & 0x0F) * 4
        if first >> 4 != 4 or head < _IP.size:  # noqa: PLR2004 -- the version
            raise UdpMalformedError(f"{first:02x} at offset 0 is not IPv4")
        if protocol != _PROTOCOL or flags & _FRAGMENTED:
            raise UdpMalformedError("not UDP, or in fragments, at offset 6")
        if not head + _UDP.size <= length <= len(packet):
            raise UdpMalformedError(f"length {length} at offset 2 does not fit {len(packet)} bytes")
        source_port, destination_port, size, _ = _UDP.unpack_from(packet, head)
        if not _UDP.size <= size <= length - head:
            raise UdpMalformedError(f"length {size} at offset {head + 4} does not fit")
        payload = packet[head + _UDP.size : head + size]
        return cls(IPv4Address(source), source_port, IPv4Address(destination), destination_port, payload)

    def encode(self) -> bytes:
        """Write the packet, with both checksums; raise ``UdpMalformedError`` when it is too large."""
        size = _UDP.size + len(self.payload)
        length = _IP.size + size
        if length > _LARGEST:
            raise UdpMalformedError(f"{len(self.payload)} bytes do not fit one packet")
        ends = (self.source.packed, self.destination.packed)
        head = (_VERSION_AND_WORDS, 0, length, 0, _DONT_FRAGMENT, _HOPS, _PROTOCOL)
        checksum = _checksum(_IP.pack(*head, 0, *ends))
        ports = (self.source_port, self.destination_port, size)
        pseudo = b"".join(ends) + bytes([0, _PROTOCOL]) + size.to_bytes(2, "big")
        datagram = _checksum(pseudo + _UDP.pack(*ports, 0) + self.payload) or 0xFFFF
        return _IP.pack(*head, checksum, *ends) + _UDP.pack(*ports, datagram) + self.payload


def _checksum(data: bytes) -> int:
    """Sum of the 16-bit words in ones' complement, complemented (RFC 1071)."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
