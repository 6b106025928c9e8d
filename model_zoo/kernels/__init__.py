"""Operators that torch lacks: each a folder with a plain reference and its fast forms."""
