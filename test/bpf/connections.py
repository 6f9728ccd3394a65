"""Connections that a test ends from outside: an ordinary one of either family, and one from an address that is not ours.

Says "ready" when all stand; then, for every line of input, which of them have ended and how.
"""
import errno
import select
import socket
import sys

IP_TRANSPARENT = 19


def end_of(connection):
    """The name of the error that ended it, or '' while it stands."""
    events = select.poll()
    events.register(connection, select.POLLIN | select.POLLOUT | select.POLLERR | select.POLLHUP)
    if not events.poll(0):
        return ""
    error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode[error] if error else ""


def pair(family, listener, source):
    client = socket.socket(family, socket.SOCK_STREAM)
    client.bind((source, 0))
    client.connect(listener)
    return client


# One listener for both families: what it accepts from IPv4 is an IPv6 socket with a mapped address.
server = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
clients = {
    "v4": pair(socket.AF_INET, ("10.77.0.1", 8080), "10.77.0.9"),
    "v6": pair(socket.AF_INET6, ("fd77::1", 8080), "fd77::9"),
}
accepted = [server.accept()[0] for _ in clients]

transparent = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
transparent.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
transparent.bind(("10.99.0.9", 0))
transparent.setblocking(False)
try:
    # Nobody answers to an address that no route leads to: it stays half open.
    transparent.connect(("10.77.0.1", 8080))
except BlockingIOError:
    pass
clients["transparent"] = transparent
clients["accepted-v4"], clients["accepted-v6"] = accepted

print("ready", flush=True)
for _ in sys.stdin:
    ended = {name: end_of(client) for name, client in clients.items()}
    print(" ".join(f"{name}={how}" for name, how in ended.items() if how), flush=True)
