"""Labelling: human judgements, click logs and self-supervision become training pairs, each with its source and weight."""
