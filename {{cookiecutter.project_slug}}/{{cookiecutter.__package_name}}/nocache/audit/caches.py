"""NC009: the caching decorators that a view went through, by what each leaves behind."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import re
import textwrap
import typing as t

# the package in which the code or the type of what a decorator returns lies, how the
# library is called, and which of its modules and names are decorators that cache
LIBRARIES = {
    "aiocache": ("aiocache", r"\.decorators:"),
    "async_lru": ("async_lru", ""),
    "beaker": ("Beaker", r"\.cache:"),
    "boltons": ("boltons", r"\.cacheutils:"),
    "cacheout": ("cacheout", ""),
    "cachetools": ("cachetools", ""),
    "cachier": ("cachier", ""),
    "cytoolz": ("toolz", ".*memo"),
    "diskcache": ("diskcache", ".*memo"),
    "dogpile": ("dogpile.cache", r"\.cache\b"),
    "flask_cache": ("Flask-Cache", ""),
    "flask_caching": ("Flask-Caching", ""),
    "functools": ("functools.cache", r":(_lru_cache_wrapper|lru_cache|cache)\b"),
    "joblib": ("joblib", r"\.memory:"),
    "memoization": ("memoization", ""),
    "percache": ("percache", ""),
    "redis_cache": ("redis_cache", ""),
    "theine": ("theine", ""),
    "toolz": ("toolz", ".*memo"),
    "walrus": ("walrus", r"\.cache:"),
    # of ring and methodtools
    "wirerope": ("ring", ""),
}
# what dogpile.cache leaves on a function that the decorator library makes for it
DOGPILE = ("invalidate", "refresh", "set")
# the types of what a decorator of one's own may keep responses in
STORES = re.compile(
    r"(cachelib|cachetools|cachier|diskcache|dogpile|expiringdict|flask_cach(e|ing)|pylibmc"
    r"|pymemcache|redis|werkzeug\.contrib\.cache)\b"
)
WRAPS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def server_caches(view: t.Any, methods: t.Iterable[str] = ()) -> list[str]:
    """Return the libraries that keep the responses of a view in the server, sorted.

    :param view: what is registered for a route.
    :param methods: the methods of the route, for those of a view class.
    """
    if is_plain(view):
        return []
    views = [view]
    if (view_class := getattr(view, "view_class", None)) is not None:
        names = ["dispatch_request", *(method.lower() for method in methods)]
        views += (inspect.getattr_static(view_class, name, None) for name in names)
        views += _method_decorators(view_class, methods)
    return sorted({name for each in views for name in _kept_by(each)})


def is_plain(view: t.Any) -> bool:
    """Return whether a view is a function that went through no decorator."""
    return inspect.isfunction(view) and not (view.__closure__ or view.__dict__)


def _method_decorators(view_class: type, methods: t.Iterable[str]) -> t.Iterator[t.Any]:
    """Yield what Flask-RESTX and Flask-RESTful decorate with as they call a method."""
    listed = getattr(view_class, "method_decorators", ())
    if isinstance(listed, dict):
        for method in methods:
            yield from listed.get(method.lower(), ())
    elif isinstance(listed, list | tuple):
        yield from listed


def _kept_by(view: t.Any) -> t.Iterator[str]:
    for function in around(view, wrappers=True):
        inner = function.__func__ if inspect.ismethod(function) else function
        code = inner.__code__ if inspect.isfunction(inner) else None
        module = (
            inner.__globals__.get("__name__", "") if code else type(inner).__module__
        )
        package, _, rest = module.partition(".")
        if package in LIBRARIES:
            library, pattern = LIBRARIES[package]
            name = code.co_qualname if code else type(inner).__qualname__
            if re.match(pattern, f".{rest}:{name}" if rest else f":{name}"):
                yield library
        elif hasattr(function, DOGPILE[0]) and all(
            hasattr(function, mark) for mark in DOGPILE
        ):
            yield "dogpile.cache"
        elif code and _wraps(inner) and (names := _replays(code)):
            if library := _store(inner, names):
                yield library


def around(view: t.Any, wrappers: bool = False) -> t.Iterator[t.Any]:
    """Yield a view and what it wraps, through closures where need be.

    :param view: the view.
    :param wrappers: look only into the closures of what hands on its arguments: a view
        may well read cached data that it closes over.
    """
    seen: set[int] = set()
    todo = [view]
    while todo and len(seen) < 20:
        function = todo.pop()
        if not callable(function) or id(function) in seen:
            continue
        seen.add(id(function))
        yield function
        if (wrapped := getattr(function, "__wrapped__", None)) is not None:
            todo.append(wrapped)
            continue
        for cell in getattr(function, "__closure__", None) or ():
            with contextlib.suppress(ValueError):  # a cell not filled yet
                inner = cell.cell_contents
                if _wraps(function) if wrappers else inspect.isfunction(inner):
                    todo.append(inner)


def _wraps(function: t.Any) -> bool:
    """Return whether a function hands on whatever it is called with."""
    code = getattr(function, "__code__", None)
    wrapped = hasattr(function, "__wrapped__")
    return wrapped or (code is not None and bool(code.co_flags & WRAPS))


@functools.lru_cache(maxsize=1024)
def _replays(code: t.Any) -> tuple[str, ...]:
    """Return the names of what a function gets the values from that it returns."""
    if "get" not in code.co_names:
        return ()
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, TypeError):
        return ()
    got: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call)
                | ast.NamedExpr(target=ast.Name(id=name), value=ast.Call() as call)
            ):
                match call.func:
                    case ast.Attribute(value=ast.Name(id=store), attr="get"):
                        got[name] = store
    returned = (n.value for n in ast.walk(tree) if isinstance(n, ast.Return))
    return tuple(got[v.id] for v in returned if isinstance(v, ast.Name) and v.id in got)


def _store(function: t.Any, names: tuple[str, ...]) -> str:
    """Return the library of the cache behind one of the names in a function."""
    known = inspect.getclosurevars(function)
    for name in names:
        store = {**known.globals, **known.nonlocals}.get(name)
        if found := STORES.match(type(store).__module__):
            return found[1]
    return ""
