"""VideoMAE's pre-training files: an encoder beside a decoder that classification has no use for.

Source: MCG-NJU/VideoMAE@14ef8d8, run_class_finetuning.py. Fine-tuned files need nothing.
"""

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Take the encoder out of a pre-training file."""
    return encoder_alone(state)


def encoder_alone(state: dict[str, Tensor]) -> Conversion:
    """Keep what is under ``encoder.``, where anything is, without the final norm.

    The classifier normalises the mean token with a norm of its own.
    """
    encoder = {
        name.removeprefix("encoder."): tensor
        for name, tensor in state.items()
        if name.startswith("encoder.") and not name.startswith("encoder.norm.")
    }
    if not encoder:
        return Conversion(state=state)
    return Conversion(
        state=encoder,
        notes=(f"encoder kept, {len(state) - len(encoder)} other entries dropped",),
        untouched=("fc_norm.*", "head.*"),
    )
