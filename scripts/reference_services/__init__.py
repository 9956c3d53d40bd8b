"""The six services around the gateway, as their contracts in docs/contracts say, for tests and for trying things out.

`python -m scripts.reference_services` serves them all on one port; how to make them misbehave: docs/neighbours.md.
"""
