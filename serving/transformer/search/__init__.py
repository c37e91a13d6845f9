"""The search engine: one catalogue of a release and the generations on it, its rules, and the swap to the next; no HTTP."""
