from __future__ import annotations

import re
import typing as t

from .guard import Exchange
from .policy import PRECONDITIONS
from .policy import unchanged

TagFunction = t.Callable[..., t.Any]

# RFC 9110 8.8.3
ENTITY_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]*"')


def may_store(exchange: Exchange | None) -> t.TypeGuard[Exchange]:
    """Return whether the response of a declared view can still be stored as declared."""
    return exchange is not None and exchange.limit is None


def not_modified(exchange: Exchange, tag: object) -> t.Any:
    """Return the 304 that comes in place of the view, or None if the view has to run.

    :param exchange: the current one, which adds the tag to the response.
    :param tag: the result of the declaration's `etag` function.
    :raises TypeError: if the tag is neither a str nor None.
    :raises ValueError: if the tag has characters that no ETag may have.
    """
    if tag is None:
        return None
    if not isinstance(tag, str):
        raise TypeError(f"cacheable: etag must return a str or None, got {tag!r}.")
    etag = tag if tag.startswith('W/"') else f'"{tag}"'
    if not ENTITY_TAG.fullmatch(etag):
        raise ValueError(
            "cacheable: etag must return visible ASCII characters without quotes,"
            f' or W/"...", got {tag!r}.'
        )
    exchange.etag = etag
    if (
        not exchange.conditions
        or not unchanged(exchange.conditions, [("ETag", etag)])
        # compared before If-None-Match, RFC 9110 13.2.2, and only the view can do it
        or any(name in exchange.request.environ for name in PRECONDITIONS)
    ):
        return None
    exchange.view_skipped = True
    return exchange.inner_app.response_class(status=304)
