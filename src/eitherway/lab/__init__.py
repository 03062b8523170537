"""Measures applications under every concurrency model: load, comparison, claims, report."""
