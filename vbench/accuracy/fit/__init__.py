"""Fitting small models to the motion benchmark, by one recipe for all of them.

recipe (what is fixed) -> frames (decoded once, kept) -> batches (exact augmentation) -> training
"""
