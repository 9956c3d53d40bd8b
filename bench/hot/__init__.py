"""The hot pieces of the gateway as Python calls them: what is timed (`bench/suites`) and counted (`instructions`)."""
