from __future__ import annotations

import typing as t

from flask import Blueprint
from flask.sansio.app import App
from flask.sansio.blueprints import BlueprintSetupState


class ApiBlueprint(Blueprint):
    """A blueprint whose responses no cache may store, whatever its views declare."""

    def register(self, app: App, options: dict[str, t.Any]) -> None:
        """Register as any blueprint does.

        :raises RuntimeError: if no guard would enforce the promise on `app`.
        """
        if "nocache" not in app.extensions:
            raise RuntimeError(
                f"ApiBlueprint {self.name!r} cannot be registered on {app.name!r}:"
                " nothing would enforce no-store there. Create the app with"
                " NoCacheFlask(__name__) instead of Flask(__name__)."
            )
        super().register(app, options)

    def make_setup_state(
        self, app: App, options: dict[str, t.Any], first_registration: bool = False
    ) -> BlueprintSetupState:
        state = super().make_setup_state(app, options, first_registration)
        app.extensions["nocache"].add((state.url_prefix or "").rstrip("/"))
        return state


def lineage(endpoint: str) -> t.Iterator[str]:
    """Yield the blueprints of an endpoint, the innermost first, as `request.blueprints`."""
    while blueprint := endpoint.rpartition(".")[0]:
        yield blueprint
        endpoint = blueprint


def on_api(app: App, blueprints: t.Iterable[str]) -> bool:
    """Return whether one of the blueprints of an endpoint is an ApiBlueprint."""
    return any(isinstance(app.blueprints.get(b), ApiBlueprint) for b in blueprints)
