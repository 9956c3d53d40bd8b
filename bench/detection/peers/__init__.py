"""One script for each scanner, run by the interpreter of its own environment: see harness.py."""
