"""The services around the gateway: who a caller is, what is allowed, what may be spent; receipts and alerts to others.

Each is one `Client` (timeout, breaker, metrics) with what it is asked for beside it. What a service does not answer is
decided by its own setting: closed refuses, open goes on without, is counted and raises an alert.
"""
