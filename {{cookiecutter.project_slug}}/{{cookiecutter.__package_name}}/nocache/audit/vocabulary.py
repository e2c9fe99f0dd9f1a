"""Names of Flask and Werkzeug that make responses and set their header fields."""

from __future__ import annotations

# functions that return a response
MAKERS = frozenset(
    """append_slash_redirect finalize_request force_type from_app full_dispatch_request
    get_response handle_exception jsonify make_default_options_response make_response
    process_response redirect response_class send_file send_from_directory
    send_static_file""".split()
)
# they register functions whose first argument is a response
HOOKS = frozenset({"after_app_request", "after_request", "after_this_request"})
# methods whose argument is a response if its name says so
OVERRIDES = frozenset({"make_conditional", "process_response", "save_session"})
SIGNALS = frozenset({"connect", "connect_via"})
# they register views, from whose return values Flask makes responses
ROUTES = frozenset(
    """add_url_rule app_errorhandler before_app_request before_request delete endpoint
    errorhandler get patch post put register_error_handler route""".split()
)
METHODS = frozenset(
    {"delete", "dispatch_request", "get", "head", "patch", "post", "put"}
)
NAMES = frozenset({"resp", "response", "rv"})
# libraries that send requests, store responses of others, or serve without Flask
STRANGERS = tuple(
    f"{name}."
    for name in """aiohttp azure boto3 botocore bottle cachecontrol cloudscraper curl_cffi
    django falcon fastapi google http.client http.server httplib2 httpretty httpx
    mechanize niquests pycurl pyramid pytest_httpserver requests requests_cache
    requests_mock responses rest_framework respx sanic scrapy starlette tornado treq
    twisted unittest.mock urllib.request urllib2 urllib3 vcr webob websocket
    websockets""".split()
)
SENDS = frozenset(
    """delete execute fetch get getresponse head open options patch post put request
    send urlopen""".split()
)
# the methods of Werkzeug's Headers that change one field, and those that take many
SETTERS = frozenset(
    """__delitem__ __setitem__ add add_header pop remove set setdefault setlist
    setlistdefault""".split()
)
TAKERS = frozenset({"__ior__", "extend", "update"})
# the methods that add to a list of pairs
FILLERS = frozenset({"append", "insert"})
COPIERS = frozenset(
    """CaseInsensitiveDict CIMultiDict Headers MultiDict OrderedDict copy deepcopy dict
    items list sorted to_wsgi_list tuple""".split()
)
# the methods of Werkzeug's ResponseCacheControl that change it
CONTROLS = frozenset(
    "__delitem__ __ior__ __setitem__ clear pop popitem setdefault update".split()
)
# the attributes of Flask's Response that set such a field
ATTRIBUTES = frozenset({"age", "expires"})
# the methods of Flask's Response that make an ETag
ETAG_METHODS = frozenset({"add_etag", "freeze", "set_etag"})
# the position of the argument max_age, in Flask and in Werkzeug
SENDERS = {"send_file": (7, 8), "send_from_directory": (None, None)}
MAX_AGES = frozenset({"max_age", "cache_timeout"})  # the second until Flask 2.1
SETTINGS = frozenset({"SEND_FILE_MAX_AGE_DEFAULT", "FLASK_SEND_FILE_MAX_AGE_DEFAULT"})
SETTING_SETTERS = frozenset({"__setitem__", "setdefault"})
SETTING_TAKERS = frozenset({"__ior__", "from_mapping", "update"})
CHOOSERS = frozenset({"get_send_file_max_age", "send_file_max_age_default"})
# the methods by which Werkzeug's exceptions and responses make their headers
HEADER_METHODS = frozenset({"get_headers", "get_wsgi_headers"})
PAGES = frozenset({"render_template", "render_template_string"})
