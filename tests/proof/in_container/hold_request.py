"""Send half a request, and the rest once a line arrives on stdin."""

from __future__ import annotations

import socket
import sys

host, path = sys.argv[1:]
body = b'{"name": "last"}'
head = f"""POST {path} HTTP/1.1
Host: {host}
Content-Type: application/json
Connection: close
Expect: 100-continue
Content-Length: {len(body)}

"""
with socket.create_connection(("127.0.0.2", 8000), timeout=60) as service:
    service.sendall(head.replace("\n", "\r\n").encode("ascii"))
    # a worker sends 100, so the request has left the kernel's queue
    print(service.recv(99).decode("ascii").split()[1], flush=True)
    service.sendall(body[:5])
    sys.stdin.readline()
    service.sendall(body[5:])
    print(service.recv(99).decode("ascii").split()[1], flush=True)
