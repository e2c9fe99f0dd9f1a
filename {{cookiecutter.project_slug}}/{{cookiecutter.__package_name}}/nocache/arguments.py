from __future__ import annotations

import re

from .policy import MAX_AGE
from .policy import PERSONAL

# the name of a field, RFC 9110 5.6.2
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def require_seconds(name: str, value: object) -> None:
    """Raise an error if an argument is not a number of seconds.

    :param name: of the argument.
    :raises TypeError: if it is not an int.
    :raises ValueError: if it is negative, or more than a cache has to count.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"cacheable: {name} must be an int, got {value!r}.")
    if not 0 <= value <= MAX_AGE:
        raise ValueError(f"cacheable: {name} must be 0 to {MAX_AGE}, got {value}.")


def require_names(vary: object, public: bool) -> None:
    """Raise an error if `vary` is not a list of field names, RFC 9110 5.1.

    :param public: whether the response is the same for everybody.
    :raises TypeError: if it is not a tuple or list of str.
    :raises ValueError: if a name is no token, or the response would not be reusable.
    """
    if not isinstance(vary, (tuple, list)):
        raise TypeError(
            f"cacheable: vary must be a tuple or list of field names, got {vary!r}."
        )
    for name in vary:
        if not isinstance(name, str):
            raise TypeError(f"cacheable: vary must hold str, got {name!r}.")
        if name == "*":
            raise ValueError(
                "cacheable: vary must not be '*': nothing would be reused."
            )
        if not TOKEN.fullmatch(name):
            raise ValueError(f"cacheable: vary must hold field names, got {name!r}.")
        if public and name.lower() in PERSONAL:
            raise ValueError(
                f"cacheable: vary must not hold {name!r} with public=True: such a"
                " response is not the same for everybody."
            )


def cache_control(
    max_age: int, public: bool, shared_max_age: int | None, immutable: bool
) -> str:
    """Return the Cache-Control of a declaration, RFC 9111 5.2.2.

    :param max_age: seconds.
    :param public: whether shared caches may store the response.
    :param shared_max_age: seconds, for shared caches.
    :param immutable: whether it need not be revalidated on a reload, RFC 8246.
    """
    directives = ["public" if public else "private", f"max-age={max_age}"]
    if not max_age:
        # no-cache would hold for shared caches as well, RFC 9111 5.2.2.2, 5.2.2.4
        if shared_max_age:
            directives.append("must-revalidate")
        else:
            directives.insert(1, "no-cache")
    if shared_max_age is not None:
        directives.append(f"s-maxage={shared_max_age}")
    if immutable:
        directives.append("immutable")
    return ", ".join(directives)
