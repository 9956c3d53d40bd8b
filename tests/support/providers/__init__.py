"""Providers that speak as they are documented to: real sockets, credentials checked, answers in their own shapes.

What is said decides what comes back: a text that begins with one of the words in `server.Say` asks for that behaviour.
"""
