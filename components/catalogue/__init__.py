"""The catalogue step: decode, validate, fingerprint, group near-duplicates, split."""
