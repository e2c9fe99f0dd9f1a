"""No response of this app may be stored by a cache, unless its route says so.

declare
    Every route has a cache policy.
    :class:`ApiBlueprint` declares no-store for all of its routes; elsewhere a view
    says :func:`nocache` or :func:`cacheable`.
enforce
    :class:`NoCacheFlask` sends every response with no-store headers unless the view
    that made it is declared cacheable.
audit
    :func:`audit_app`, ``flask nocache audit`` and the route audit test list every
    route with its policy and report what is declared wrongly or not at all.
"""

from importlib.util import find_spec

if find_spec("flask.sansio") is None:
    raise ImportError("The cache policy kit needs Flask 3.0 or newer.", name="flask")

from .app import NoCacheFlask as NoCacheFlask
from .audit.findings import Finding as Finding
from .audit.routes import Route as Route
from .audit.routes import routes as routes
from .audit.rules import audit_app as audit_app
from .blueprint import ApiBlueprint as ApiBlueprint
from .declare import cacheable as cacheable
from .declare import nocache as nocache
from .guard import overridden as overridden
