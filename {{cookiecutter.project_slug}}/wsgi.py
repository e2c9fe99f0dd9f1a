from __future__ import annotations

from {{ cookiecutter.__package_name }} import create_app

app = create_app()
