"""Bytes to messages and back. Sans-IO: no socket, no clock, no engine is imported here."""
