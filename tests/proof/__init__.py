"""Prove on real caches, a real browser and under load what the kit promises."""
