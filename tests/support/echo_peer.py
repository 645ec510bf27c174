"""The far end of the network interface of a bare-metal guest that sends each UDP packet back (tests/guest/echo_tests.cpp)."""

import socket
import struct
from pathlib import Path

GUEST_MAC, PEER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
GUEST_IP, PEER_IP = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
PORT = 7


def udp_frame(payload: bytes, source_port: int = 4000) -> bytes:
    """From the peer to the guest. UDP over IPv4 needs no checksum of its own (RFC 768)."""
    udp = struct.pack(">HHHH", source_port, PORT, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0, PEER_IP, GUEST_IP)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    return GUEST_MAC + PEER_MAC + struct.pack(">H", 0x0800) + head + udp


def echoed(frame: bytes) -> bytes:
    """What that guest makes of it."""
    return (frame[6:12] + frame[:6] + frame[12:26] + frame[30:34] + frame[26:30] + frame[36:38] + frame[34:36] +
            frame[38:])


class EchoPeer:
    """Listens on a stream socket, as passt does, for a hako to connect to. Use as a context manager."""

    def __init__(self, path: Path):
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(60)

    def __enter__(self) -> "EchoPeer":
        return self

    def __exit__(self, *_) -> None:
        self._listener.close()
        self.path.unlink()

    def exchange(self, payload: bytes) -> None:
        """Waits for a connection, sends a packet, and waits until it is back."""
        frame = udp_frame(payload)
        with self._listener.accept()[0] as wire:
            wire.settimeout(60)
            wire.sendall(struct.pack(">I", len(frame)) + frame)
            answer = wire.makefile("rb")
            length, = struct.unpack(">I", answer.read(4))
            assert answer.read(length) == echoed(frame), "another packet came back"
