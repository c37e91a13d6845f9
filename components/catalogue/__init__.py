"""Images in: decode, validate, fingerprint, group near-duplicates, split."""
