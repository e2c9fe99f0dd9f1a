from __future__ import annotations

import os

wsgi_app = "wsgi:app"
# loopback by default: `gunicorn --bind 0.0.0.0:8000` opens it to a network
bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# a management socket in the home folder is nothing this service needs
control_socket_disable = True
