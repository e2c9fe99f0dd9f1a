# Read by the `flask` command only; gunicorn never sees it, so it runs in production mode.
FLASK_DEBUG=1
