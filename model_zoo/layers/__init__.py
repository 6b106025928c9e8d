"""Layers that two or more architectures share, parameter names as the official ones."""
