"""Append, read and follow the log: one room a backend."""
