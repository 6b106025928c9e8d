"""Scores models on labelled videos, each by its own published protocol, and says how sure it is."""
