"""VideoMAE V2's pre-training files, laid out as VideoMAE's.

Source: OpenGVLab/VideoMAEv2@29eab1e, run_class_finetuning.py. Fine-tuned and distilled files need
nothing. A head of 710 classes is not cut to fewer: its rows would have to be picked by the lists
misc/label_710to*.json of that repository (`model_zoo.weights.tables.select_rows`).
"""

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.videomae import encoder_alone


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Take the encoder out of a pre-training file."""
    return encoder_alone(state)
