"""Operation counters: our own, exact one, and those of fvcore and thop to compare it with.

Unit everywhere: one multiply-accumulate counts as one. Papers mostly print the same number under
the name of GFLOPs.
"""
