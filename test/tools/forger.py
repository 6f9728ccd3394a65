"""TCP that an ordinary program cannot send, for tests that play an attacker. Reads one JSON list, answers with one.

Each entry is one attempt; all run at once:
  {"how": "connect", "host", "port", "send", "mark"?, "address"?, "sourcePort"?}
      a socket with a mark, and from an address that need not be ours
  {"how": "raw", "device", "sourceMac", "destinationMac", "source", "destination", "sourcePort", "destinationPort", "send"}
      a handshake in frames of our own; when a connection of the same ports answers the SYN instead, `send` goes into it
Answers {"result": "connected" or the error's name, "bytes", "port"}; raw ones also tell whose the answer was: "opened",
"joined" (another's connection) or "silence".
"""

import json
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

SO_MARK = 36
IP_TRANSPARENT = 19
SOL_IPV6, IPV6_TRANSPARENT = 41, 75
PATIENCE = 0.8
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(attempt):
    family = family_of(attempt["host"])
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            if "mark" in attempt:
                connection.setsockopt(socket.SOL_SOCKET, SO_MARK, attempt["mark"].to_bytes(4, sys.byteorder))
            if "address" in attempt:
                level, option = (SOL_IPV6, IPV6_TRANSPARENT) if family == socket.AF_INET6 else (socket.SOL_IP, IP_TRANSPARENT)
                connection.setsockopt(level, option, 1)
                connection.bind((attempt["address"], attempt.get("sourcePort", 0)))
            connection.connect((attempt["host"], attempt["port"]))
            port = connection.getsockname()[1]
            connection.sendall(attempt["send"].encode("latin1"))
            return {"result": "connected", "bytes": connection.recv(65536).decode("latin1"), "port": port}
        except OSError as error:
            return {"result": type(error).__name__, "bytes": "", "port": 0}


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Frames:
    """One connection, made of frames."""

    def __init__(self, attempt):
        self.family = family_of(attempt["source"])
        self.v6 = self.family == socket.AF_INET6
        self.source, self.destination = (socket.inet_pton(self.family, attempt[end]) for end in ("source", "destination"))
        self.ports = attempt["sourcePort"], attempt["destinationPort"]
        macs = (bytes.fromhex(attempt[end].replace(":", "")) for end in ("destinationMac", "sourceMac"))
        self.link = b"".join(macs) + struct.pack("!H", 0x86DD if self.v6 else 0x0800)
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.wire.bind((attempt["device"], 0))

    def send(self, flags, sequence, acknowledged=0, payload=b""):
        tcp = struct.pack("!HHIIBBHHH", *self.ports, sequence, acknowledged, 5 << 4, flags, 64000, 0, 0) + payload
        length_and_protocol = struct.pack("!II", len(tcp), 6) if self.v6 else struct.pack("!HH", 6, len(tcp))
        pseudo = self.source + self.destination + length_and_protocol
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        if self.v6:
            ip = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64)
        else:
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0)
            ip = ip[:10] + struct.pack("!H", checksum(ip + self.source + self.destination))
        self.wire.send(self.link + ip + self.source + self.destination + tcp)

    def receive(self, until):
        """Flags, sequence, acknowledgement and payload of the next segment to us, or None."""
        while (left := until - time.monotonic()) > 0:
            self.wire.settimeout(left)
            try:
                frame, (_, _, kind, *_) = self.wire.recvfrom(65536)
            except TimeoutError:
                return None
            if kind == socket.PACKET_OUTGOING or frame[12:14] != self.link[12:14] or frame[20 if self.v6 else 23] != 6:
                continue
            start = 54 if self.v6 else 14 + (frame[14] & 15) * 4
            source, destination, sequence, acknowledged, offset, flags = struct.unpack("!HHIIBB", frame[start : start + 14])
            end = 54 + struct.unpack("!H", frame[18:20])[0] if self.v6 else 14 + struct.unpack("!H", frame[16:18])[0]
            if (destination, source) == self.ports:
                return flags, sequence, acknowledged, frame[start + (offset >> 4) * 4 : end]
        return None


def raw(attempt):
    frames = Frames(attempt)
    send = attempt["send"].encode("latin1")
    mine = 1000
    frames.send(SYN, mine)
    answer = frames.receive(time.monotonic() + PATIENCE)
    if answer is None or answer[0] & RST:
        return {"result": "silence", "bytes": "", "port": frames.ports[0]}
    if answer[0] == SYN | ACK:
        result, mine, theirs = "opened", mine + 1, answer[1] + 1
        frames.send(ACK, mine, theirs)
    else:  # a challenge: it tells the numbers of the connection that is there already
        result, mine, theirs = "joined", answer[2], answer[1]
    frames.send(PSH | ACK, mine, theirs, send)
    received = b""
    until = time.monotonic() + PATIENCE
    while segment := frames.receive(until):
        received += segment[3]
        if segment[0] & (FIN | RST):
            break
    return {"result": result, "bytes": received.decode("latin1"), "port": frames.ports[0]}


attempts = json.load(sys.stdin)
with ThreadPoolExecutor(max_workers=len(attempts)) as pool:
    answers = list(pool.map(lambda attempt: {"connect": connect, "raw": raw}[attempt["how"]](attempt), attempts))
json.dump(answers, sys.stdout)
