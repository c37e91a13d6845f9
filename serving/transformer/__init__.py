"""The KServe transformer: decode, encode, search, re-rank, answer."""
