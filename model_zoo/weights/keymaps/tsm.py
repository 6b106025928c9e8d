"""TSM's files: named as TSN's but for the shift around a convolution."""

from model_zoo.weights.keymaps.tsn import convert

__all__ = ["convert"]
