"""Sockets and readiness. Knows bytes and exchanges, never an application."""
