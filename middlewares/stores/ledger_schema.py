"""The tables of the ledger's file, and the names of what is in them."""

from __future__ import annotations

from tollhouse._native import LEDGER_TOKENS, LEDGER_WHO

TOKENS = LEDGER_TOKENS
WHO = LEDGER_WHO
# The order of a charge's detail, a JSON list; what is missing at its end is not known.
DETAIL = ("request", *WHO, "status", "priced", *TOKENS)
# What a great many rows have in common is written once, as a row of `series`.
SERIES = ("status", "priced", *WHO)
# Before there was a tenant.
_WHO_2 = tuple(name for name in WHO if name != "tenant")
_SERIES_2 = ("status", "priced", *_WHO_2)
# Each entry takes the schema one version further; never edit one that has been released.
MIGRATIONS = (
    f"""
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        status TEXT NOT NULL,
        hold TEXT NOT NULL,
        amount INTEGER NOT NULL,
        priced INTEGER NOT NULL,
        expired INTEGER NOT NULL,
        {", ".join(f"{name} TEXT" for name in ("request", "key", "team", "user", *_WHO_2[3:]))},
        {", ".join(f"{name} INTEGER NOT NULL" for name in TOKENS)}
    ) STRICT;
    CREATE INDEX ledger_by_time ON ledger (at_ms);
    CREATE INDEX ledger_by_hold ON ledger (hold);
    CREATE TABLE positions (source TEXT PRIMARY KEY, last TEXT NOT NULL) STRICT, WITHOUT ROWID
    """,
    f"""
    DROP INDEX ledger_by_time;
    DROP INDEX ledger_by_hold;
    ALTER TABLE ledger RENAME TO ledger_1;
    CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        priced INTEGER NOT NULL,
        {", ".join(f"{name} TEXT" for name in _WHO_2)}
    ) STRICT;
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY,
        series INTEGER NOT NULL REFERENCES series,
        at_ms INTEGER NOT NULL,
        shared INTEGER NOT NULL,
        hold TEXT NOT NULL,
        expired INTEGER NOT NULL,
        amount INTEGER NOT NULL,
        request TEXT,
        {", ".join(f"{name} INTEGER NOT NULL" for name in TOKENS)}
    ) STRICT;
    INSERT INTO series ({", ".join(_SERIES_2)}) SELECT DISTINCT {", ".join(_SERIES_2)} FROM ledger_1;
    INSERT INTO ledger SELECT one.id, series.id, at_ms, hold GLOB '*[^0-9]*', hold, expired, amount, request,
        {", ".join(TOKENS)}
    FROM ledger_1 one JOIN series ON {" AND ".join(f"series.{name} IS one.{name}" for name in _SERIES_2)};
    DROP TABLE ledger_1;
    CREATE INDEX ledger_by_time ON ledger (at_ms);
    CREATE UNIQUE INDEX ledger_by_hold ON ledger (hold, expired) WHERE shared
    """,  # noqa: S608 - names from the lists above
    "ALTER TABLE series ADD COLUMN tenant TEXT",
    "CREATE INDEX series_by_key ON series (key, model, status)",
)
