"""What a developer, a test and CI need; no request passes here."""
