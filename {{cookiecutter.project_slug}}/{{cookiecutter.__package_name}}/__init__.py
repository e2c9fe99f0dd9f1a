from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import api
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
    # before the others, so that what they answer and log has a name
    observability.init_app(app)
    security.init_app(app)
    storage.init_app(app)
    errors.init_app(app)
    app.register_blueprint(api.bp, url_prefix=API_PREFIX)
    app.register_blueprint(pages.bp)
    return app
