"""How good a result is, against a truth: cells, tracks, spots."""
