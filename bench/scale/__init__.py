"""How cost grows: with concurrency, sizes, rules, keys, models and workers; over hours; over a fleet of nodes."""
