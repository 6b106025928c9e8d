"""VideoMAE's files in other layouts than its fine-tuned ones, which are our own.

- Pre-training files of MCG-NJU/VideoMAE@14ef8d8 (run_class_finetuning.py): an encoder beside a
  decoder that classification has no use for.
- The port of huggingface/transformers, versions 4 and 5 (models/videomae): queries, keys and values
  apart. Its norms differ by their epsilon: 1e-12, and 1e-5 before the classifier, where the
  original and our model have 1e-6. Its small model has 16 heads, the original and ours 6.
- The port of open-mmlab/mmaction2@4d6c934 (mmaction/models/backbones/vit_mae.py): the fixed table
  of positions is among its weights.

Shapes: D channels of a token.
"""

import re
from typing import Final

import torch
from torch import Tensor, nn

from model_zoo._errors import CheckpointError
from model_zoo.layers.pos_embed import sinusoid_table
from model_zoo.weights.keymaps import Conversion, Renames, renamed

FROM_TRANSFORMERS: Final[Renames] = (
    (r"^videomae\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"attention\.attention\.query\.bias$", "attn.q_bias"),  # as version 5 has them
    (r"attention\.attention\.value\.bias$", "attn.v_bias"),
    (r"attention\.attention\.", "attn."),
    (r"attention\.output\.dense\.", "attn.proj."),
    (r"layernorm_before\.", "norm1."),
    (r"layernorm_after\.", "norm2."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"output\.dense\.", "mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)

FROM_MMACTION2: Final[Renames] = (
    (r"^backbone\.", ""),
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"mlp\.layers\.0\.0\.", "mlp.fc1."),
    (r"mlp\.layers\.1\.", "mlp.fc2."),
    (r"^cls_head\.fc_cls\.", "head."),
)

OF_THE_PORTS: Final = {
    "embeddings.patch_embeddings.projection.weight": "transformers",
    "videomae.embeddings.patch_embeddings.projection.weight": "transformers",
    "backbone.patch_embed.projection.weight": "mmaction2",
    "patch_embed.projection.weight": "mmaction2",
}
OF_PRETRAINING: Final = ("decoder.", "encoder_to_decoder.", "mask_token")


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Take a port's names back, and the encoder out of a pre-training file."""
    state, notes = in_original_names(state)
    conversion = encoder_alone(state)
    return Conversion(
        state=conversion.state,
        notes=(*notes, *conversion.notes),
        untouched=conversion.untouched,
    )


def in_original_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A port's tensors as the original code would have stored them; any others as they are.

    An encoder of transformers without a classifier comes under ``encoder.``, as in a pre-training
    file.

    Raises:
        CheckpointError: A classifier of one token, which is another network.
    """
    port = next((OF_THE_PORTS[name] for name in OF_THE_PORTS if name in state), None)
    if port is None:
        return state, []
    if port == "mmaction2":
        return _from_mmaction2(state)
    return _from_transformers(state), [
        "names changed from those of Hugging Face transformers; queries, keys and values joined",
        "epsilon of the norms is the original's 1e-6, not the port's",
    ]


def _from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    has_classifier = "classifier.weight" in state
    if has_classifier and "fc_norm.weight" not in state:
        raise CheckpointError(
            "wanted a classifier of the mean token with a norm `fc_norm`, the file has one of the "
            "first token",
            hint="such a model (use_mean_pooling=False) is no released one; remove `classifier.*` "
            "to load its encoder alone",
        )
    original = {
        renamed(name, FROM_TRANSFORMERS): tensor
        for name, tensor in state.items()
        if not name.startswith(OF_PRETRAINING)
    }
    original = _with_joined_projections(original)
    if not has_classifier:
        original = {f"encoder.{name}": tensor for name, tensor in original.items()}
        original |= {name: state[name] for name in state if name.startswith(OF_PRETRAINING)}
    return original


def _with_joined_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a block's queries, keys and values as one: thrice (D, D) -> (3 * D, D)."""
    joined = {}
    for name, tensor in state.items():
        projection = re.fullmatch(r"(blocks\.\d+\.attn\.)(query|key|value)\.weight", name)
        if projection is None:
            joined[name] = tensor
        elif projection[2] == "query":
            parts = [state[f"{projection[1]}{part}.weight"] for part in ("query", "key", "value")]
            joined[f"{projection[1]}qkv.weight"] = torch.cat(parts)  # (3 * D, D)
    return joined


def _from_mmaction2(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    original = {renamed(name, FROM_MMACTION2): tensor for name, tensor in state.items()}
    notes = ["names changed from mmaction2's"]
    table = original.get("pos_embed")
    if table is not None and _is_sinusoid(table):
        del original["pos_embed"]
        notes.append("fixed table of positions left out: the model computes its own")
    return original, notes


def _is_sinusoid(table: Tensor) -> bool:
    """Whether nothing but rounding tells (1, N, D) from the fixed table."""
    fixed = sinusoid_table(*table.shape[1:])
    return table.shape == fixed.shape and bool((table.float() - fixed).abs().max() < 1e-2)


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
