"""Prove the promise of the kit with real caches, a real browser and load."""
