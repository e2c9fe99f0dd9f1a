"""Send a request to the service of this container once it accepts connections."""

from __future__ import annotations

import json
import sys
import time
from http.client import HTTPConnection

host, port, method, path, body, patience = sys.argv[1:]
headers = {"Host": host, "Content-Type": "application/json"}
deadline = time.time() + float(patience)
while True:
    # a service that listens on 127.0.0.1 alone does not accept 127.0.0.2
    service = HTTPConnection("127.0.0.2", int(port), timeout=30)
    try:
        service.request(method, path, body or None, headers)
        break
    except ConnectionRefusedError:
        if time.time() > deadline:
            raise
        time.sleep(0.01)
response = service.getresponse()
print(json.dumps([time.time(), response.status, response.getheaders()]))
print(response.read().decode("utf-8"))
