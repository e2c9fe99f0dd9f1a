"""The audit, for developers, tests and CI; no request runs any of it."""
