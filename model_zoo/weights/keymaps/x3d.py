"""X3D's files: PySlowFast's own and PyTorchVideo's."""

from model_zoo.weights.pyslowfast import convert

__all__ = ["convert"]
