"""The SQLite event journal and the history read from it."""

from runner.store.journal import StoreJournal
from runner.store.store import Store

__all__ = ["Store", "StoreJournal"]
