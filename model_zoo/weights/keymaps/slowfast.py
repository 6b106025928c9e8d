"""SlowFast's files: PySlowFast's own, its Caffe2 pickles and PyTorchVideo's."""

from model_zoo.weights.pyslowfast import convert

__all__ = ["convert"]
