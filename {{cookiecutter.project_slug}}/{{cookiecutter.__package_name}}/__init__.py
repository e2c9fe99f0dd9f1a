from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import api
from . import commands
from . import errors
from . import observability
from . import pages
from . import security
from . import storage
from .config import API_PREFIX
from .config import configure
from .nocache import NoCacheFlask


def create_app(config: Mapping[str, Any] | None = None) -> NoCacheFlask:
    """Build the service.

    :param config: Values that win over the environment, for tests.
    """
    app = NoCacheFlask(__name__)
    configure(app, config or {})
    # before the others, so that their responses and log lines have a name
    observability.init_app(app)
    if os.environ.get("METRICS_PORT") and "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        # slow to import, and nothing that a command needs
        from . import metrics

        metrics.init_app(app, int(os.environ["METRICS_PORT"]))
    security.init_app(app)
    storage.init_app(app)
    commands.init_app(app)
    errors.init_app(app)
    app.register_blueprint(api.bp, url_prefix=API_PREFIX)
    app.register_blueprint(pages.bp)
    return app
