"""Rows to train on: formats per method, streaming validation, seeded generation."""
