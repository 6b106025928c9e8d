"""TimeSformer's files, and the ImageNet ViTs (timm's ``jx_vit`` files) that it starts from.

Follows `load_pretrained` of facebookresearch/TimeSformer@a5ef29a, timesformer/models/helpers.py,
but for a video checkpoint with other classes: there the head is dropped in silence, here it does
not fit. The port of huggingface/transformers, versions 4 and 5 (models/timesformer), differs by its
names alone.
"""

from typing import Final

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion, Renames, renamed
from model_zoo.weights.tables import resize_1d

HEAD: Final = ("model.head.*",)

FROM_TRANSFORMERS: Final[Renames] = (
    (r"^timesformer\.embeddings\.patch_embeddings\.projection\.", "model.patch_embed.proj."),
    (r"^timesformer\.embeddings\.cls_token$", "model.cls_token"),
    (r"^timesformer\.embeddings\.position_embeddings$", "model.pos_embed"),
    (r"^timesformer\.embeddings\.time_embeddings$", "model.time_embed"),
    (r"^timesformer\.encoder\.layer\.", "model.blocks."),
    (r"^timesformer\.layernorm\.", "model.norm."),
    (r"^classifier\.", "model.head."),
    (r"attention\.attention\.qkv\.", "attn.qkv."),  # of both attentions
    (r"attention\.output\.dense\.", "attn.proj."),
    (r"temporal_layernorm\.", "temporal_norm1."),
    (r"temporal_dense\.", "temporal_fc."),
    (r"layernorm_before\.", "norm1."),
    (r"layernorm_after\.", "norm2."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"output\.dense\.", "mlp.fc2."),
)


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Add the prefix, resize the tables, and give an image model its attention over time."""
    own = model.state_dict()
    notes: list[str] = []
    if any(name.startswith("timesformer.") for name in state):
        state = {renamed(name, FROM_TRANSFORMERS): tensor for name, tensor in state.items()}
        notes.append("names changed from those of Hugging Face transformers")
    has_prefix = any(name.startswith("model.") for name in state)
    if not has_prefix:
        state = {f"model.{name}": value for name, value in state.items()}
        notes.append("prefix `model.` added to every name")
    state = _resized(state, own, notes)
    is_video = has_prefix or any("temporal_" in name or "time_embed" in name for name in state)
    return Conversion(state=state, notes=notes) if is_video else _from_images(state, own, notes)


def _resized(
    state: dict[str, Tensor], own: dict[str, Tensor], notes: list[str]
) -> dict[str, Tensor]:
    """Tables at the model's lengths; the places in their flattened order, as officially."""
    resized = dict(state)
    for name, num_kept in (("model.pos_embed", 1), ("model.time_embed", 0)):
        if name not in state or name not in own:
            continue
        old, new = state[name].shape[1], own[name].shape[1]
        if old != new:
            resized[name] = resize_1d(state[name], new, mode="nearest", num_prefix=num_kept)
            notes.append(
                f"`{name}` resized from {old} to {new} entries, the nearest along the flattened "
                "axis; a model built at the file's own size resizes it in two dimensions"
            )
    return resized


def _from_images(state: dict[str, Tensor], own: dict[str, Tensor], notes: list[str]) -> Conversion:
    """What an image model gives: attention over time begins as a copy of that over space."""
    state = dict(state)
    name = "model.patch_embed.proj.weight"
    if name in state and state[name].shape == own[name].flatten(1).shape:
        state[name] = state[name].reshape(own[name].shape)  # (D, 3, 16, 16)
        notes.append(f"`{name}` reshaped from a linear projection")
    if any(".temporal_attn." in name for name in own):
        state |= {_over_time(name): value for name, value in state.items() if name in own}
        notes.append("attention over time copied from attention over space")
    untouched = ["model.time_embed", "model.blocks.*.temporal_fc.*"]
    head = "model.head.weight"
    if head in state and state[head].shape != own[head].shape:
        notes.append(f"head of {state[head].shape[0]} classes left out")
        state = {name: value for name, value in state.items() if not name.startswith("model.head.")}
        untouched.append("model.head.*")
    return Conversion(state=state, notes=notes, untouched=untouched)


def _over_time(name: str) -> str:
    """Name of the entry over time that starts from the one over space, else the name itself."""
    for over_space, over_time in ((".attn.", ".temporal_attn."), (".norm1.", ".temporal_norm1.")):
        name = name.replace(over_space, over_time)
    return name
