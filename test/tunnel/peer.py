"""Ends of connections and datagrams for the tests of the tunnel and of held frames.

peer.py serve              answers on every port of 9000-9009 and 7000, both families: TCP with the SHA-256 of what came, UDP
                           with what came
peer.py tcp HOST PORT N    sends N bytes; prints the milliseconds to connect, the segments (SYNs) repeated meanwhile, and whether
                           the hash is right
peer.py udp HOST PORT N    N datagrams in one send, cut by the kernel (UDP_SEGMENT) when N > 1; prints how many came back
peer.py mtu HOST PORT N    one datagram of N bytes that may not be cut; prints what the kernel has learned of the path
"""
import errno
import hashlib
import select
import socket
import sys
import threading
import time

UDP_SEGMENT = 103
SEGMENT = 1000
PATIENCE = 5
SILENCE = 0.4
PORTS = [7000, *range(9000, 9010)]


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def answer(connection):
    digest = hashlib.sha256()
    while True:
        data = connection.recv(1 << 18)
        if not data:
            break
        digest.update(data)
    connection.sendall(digest.hexdigest().encode())
    connection.close()


def serve():
    sockets = {}
    for port in PORTS:
        stream = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256)
        datagram = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        datagram.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        datagram.bind(("::", port))
        sockets[stream], sockets[datagram] = True, False
    print("ready", flush=True)
    while True:
        for one in select.select(list(sockets), [], [])[0]:
            if sockets[one]:
                threading.Thread(target=answer, args=(one.accept()[0],), daemon=True).start()
            else:
                data, sender = one.recvfrom(1 << 16)
                one.sendto(data, sender)


def retransmissions():
    with open("/proc/net/snmp") as table:
        names, numbers = [line.split() for line in table if line.startswith("Tcp:")]
    return int(numbers[names.index("RetransSegs")])


def tcp(host, port, count):
    before, start = retransmissions(), time.monotonic()
    connection = socket.create_connection((host, port), PATIENCE)
    connected = (time.monotonic() - start) * 1000
    repeated = retransmissions() - before
    data = bytes(range(256)) * (count // 256)
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    right = connection.recv(64).decode() == hashlib.sha256(data).hexdigest()
    print(f"{connected:.1f} {repeated} {'right' if right else 'wrong'}")


def udp(host, port, count):
    one = socket.socket(family_of(host), socket.SOCK_DGRAM)
    one.settimeout(SILENCE)
    if count > 1:
        one.setsockopt(socket.SOL_UDP, UDP_SEGMENT, SEGMENT)
    # Connected and asking for it (IP_RECVERR, IPV6_RECVERR): so that ICMP errors are told.
    one.setsockopt(*((socket.IPPROTO_IPV6, 25, 1) if ":" in host else (socket.IPPROTO_IP, 11, 1)))
    one.connect((host, port))
    one.send(b"".join(bytes([each]) * SEGMENT for each in range(count)))
    came = []
    try:
        while len(came) < count:
            came.append(one.recv(1 << 16))
    except TimeoutError:
        pass
    print(len([each for each, data in enumerate(came) if data == bytes([each]) * SEGMENT]))


def mtu(host, port, count):
    one = socket.socket(family_of(host), socket.SOCK_DGRAM)
    six = ":" in host
    # IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, "always"; IP_MTU and IPV6_MTU.
    level, discover, ask = (socket.IPPROTO_IPV6, 23, 24) if six else (socket.IPPROTO_IP, 10, 14)
    one.setsockopt(level, discover, 2)
    one.connect((host, port))
    headers = 48 if six else 28
    try:
        one.send(bytes(count - headers))
    except OSError as error:
        # Known already.
        if error.errno != errno.EMSGSIZE:
            raise
    # The error comes as the socket's, once; then the path is known.
    events = select.poll()
    events.register(one, 0)
    events.poll(PATIENCE * 1000)
    print(one.getsockopt(level, ask))


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "serve":
        serve()
    else:
        {"tcp": tcp, "udp": udp, "mtu": mtu}[command](rest[0], int(rest[1]), int(rest[2]))
