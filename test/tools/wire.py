"""Sees every frame in its network namespace until standard input ends; writes a JSON report. wire.py FILE MARKER"""
import ipaddress
import json
import select
import socket
import struct
import sys

TUNNEL_PORT = 51871
AGENT_PORTS = {4250, 4251}
file, marker = sys.argv[1], sys.argv[2].encode()
seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
seen.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
report = {"frames": 0, "tunnel": 0, "agents": 0, "markers": 0, "fragments": 0}
others = {}


def look(frame):
    report["frames"] += 1
    report["markers"] += frame.count(marker)
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0800 and len(frame) >= 34:
        protocol, at = frame[23], 14 + (frame[14] & 15) * 4
        if struct.unpack_from("!H", frame, 20)[0] & 0x3FFF:
            report["fragments"] += 1
        source, destination = (ipaddress.ip_address(frame[i : i + 4]) for i in (26, 30))
    elif kind == 0x86DD and len(frame) >= 54:
        protocol, at = frame[20], 54
        if protocol == 44:
            report["fragments"] += 1
        source, destination = (ipaddress.ip_address(frame[i : i + 16]) for i in (22, 38))
        if protocol == 58 and len(frame) > 54 and frame[54] in range(130, 138):
            return
    else:
        return
    if destination.is_multicast or protocol == 0:
        return
    ports = struct.unpack_from("!HH", frame, at) if protocol in (6, 17) and len(frame) >= at + 4 else (0, 0)
    if protocol == 17 and TUNNEL_PORT in ports:
        report["tunnel"] += 1
    elif protocol == 6 and AGENT_PORTS & set(ports):
        report["agents"] += 1
    else:
        others[f"{source}:{ports[0]} > {destination}:{ports[1]} {({6: 'TCP', 17: 'UDP', 1: 'ICMP', 58: 'ICMPv6'}).get(protocol, protocol)}"] = 1


print("listening", flush=True)
open_input = True
while True:
    ready, _, _ = select.select([seen, sys.stdin] if open_input else [seen], [], [], 5 if open_input else 0.2)
    if seen in ready:
        frame, (_, _, packet_type, *_) = seen.recvfrom(70000)
        look(frame)
    elif sys.stdin in ready:
        if not sys.stdin.read():
            open_input = False
    elif not open_input:
        break
with open(file, "w") as out:
    json.dump({**report, "others": sorted(others)[:50]}, out)
