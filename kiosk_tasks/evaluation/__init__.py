"""Scores of results against truths that a person has: which belong together, and how they agree."""
