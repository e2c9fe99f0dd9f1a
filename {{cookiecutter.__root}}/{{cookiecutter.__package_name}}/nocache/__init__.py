"""No answer of this app may be stored by a cache, unless its route says so.

declare
    Every route has a cache policy.
    :class:`ApiBlueprint` declares no-store for all of its routes; elsewhere a view
    says :func:`nocache` or :func:`cacheable`.
enforce
    :class:`NoCacheFlask` sends every answer with no-store headers unless the view
    that gave it is declared cacheable.
audit
    :func:`audit_app`, ``flask nocache audit`` and the route audit test list every
    route with its policy and report what is declared wrongly or not at all.
"""

from importlib.util import find_spec

if find_spec("flask.sansio") is None:
    raise ImportError("The cache policy kit needs Flask 3.0 or newer.", name="flask")

from .audit import audit_app as audit_app
from .audit import Route as Route
from .audit import routes as routes
from .findings import Finding as Finding
from .guard import NoCacheFlask as NoCacheFlask
from .policy import ApiBlueprint as ApiBlueprint
from .policy import cacheable as cacheable
from .policy import nocache as nocache
from .policy import overridden as overridden
