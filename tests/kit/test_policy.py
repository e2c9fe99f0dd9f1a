from __future__ import annotations

import pytest
from nocache import cacheable


@pytest.mark.parametrize(
    ("arguments", "error", "culprit"),
    [
        ({"max_age": -1, "reason": "x"}, ValueError, "max_age"),
        ({"max_age": 2**31 + 1, "reason": "x"}, ValueError, "max_age"),
        ({"max_age": 1.5, "reason": "x"}, TypeError, "max_age"),
        ({"max_age": True, "reason": "x"}, TypeError, "max_age"),
        ({"max_age": 1, "public": "yes", "reason": "x"}, TypeError, "public"),
        ({"max_age": 1, "reason": " \n"}, ValueError, "reason"),
        ({"max_age": 1, "reason": None}, TypeError, "reason"),
        ({"max_age": 1}, TypeError, "reason"),
        ({"reason": "x"}, TypeError, "max_age"),
    ],
)
def test_cacheable_refuses_bad_arguments(
    arguments: dict[str, object], error: type[Exception], culprit: str
) -> None:
    with pytest.raises(error, match=culprit):
        cacheable(**arguments)
