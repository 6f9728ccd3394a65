"""Sends or takes many bytes over TCP. bulk.py sink PORT | bulk.py send ADDRESS PORT MARKER BYTES"""
import socket
import sys

if sys.argv[1] == "sink":
    server = socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True)
    print("listening", flush=True)
    while True:
        connection, _ = server.accept()
        count = 0
        try:
            while data := connection.recv(1 << 16):
                count += len(data)
            connection.sendall(str(count).encode())
        except OSError:
            pass
        connection.close()
else:
    address, port, marker, size = sys.argv[2], int(sys.argv[3]), sys.argv[4].encode(), int(sys.argv[5])
    connection = socket.create_connection((address, port), 10)
    connection.settimeout(20)
    connection.sendall(marker * (size // len(marker)))
    connection.shutdown(socket.SHUT_WR)
    print(connection.recv(64).decode() or "0")
