"""Remedies that start by themselves: which, when again, and the ledger of what was started."""
