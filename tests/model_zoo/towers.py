"""Small stand-ins for OpenAI's CLIP archives, and checks of the models built on its tower."""

from typing import Any

import torch
from torch import Tensor, nn

from model_zoo import Options
from model_zoo.clip import Clip, ClipConfig
from tests.detfill import clip, fill_model

DIM = 64
DEPTH = 3
NUM_HEADS = 4
SIDE_PX = 32


def options(num_frames: int = 4, *, num_classes: Any = 20, attention: str = "sdpa") -> Options:
    return Options(
        num_frames=num_frames,
        height_px=SIDE_PX,
        width_px=SIDE_PX,
        num_classes=num_classes,
        attention=attention,
    )


def tower(**changes: int) -> Clip:
    """A small tower that gives its normalised class token as it is."""
    config = {"dim": DIM, "depth": DEPTH, "num_heads": NUM_HEADS} | changes
    size = options(num_frames=1, num_classes=config["dim"])
    model = Clip(ClipConfig(**config), size)
    fill_model(model)
    with torch.no_grad():
        model.proj.copy_(torch.eye(config["dim"]))
    return model


def archive(model: Clip) -> dict[str, Tensor]:
    """The tensors of an archive: the visual tower, and a text tower of the same block names."""
    visual = {f"visual.{name}": tensor for name, tensor in model.state_dict().items()}
    text = {
        "positional_embedding": torch.zeros(77, 8),
        "text_projection": torch.zeros(8, 4),
        "logit_scale": torch.zeros(()),
        "token_embedding.weight": torch.zeros(10, 8),
        "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(24, 8),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(8),
        "ln_final.weight": torch.zeros(8),
    }
    return visual | text


def class_tokens(model: Clip, clips: Tensor) -> Tensor:
    """What the tower says of every frame: (B, 3, T, H, W) -> (B, T, D)."""
    frames = [clips[:, :, t : t + 1] for t in range(clips.shape[2])]
    return torch.stack([model(frame) for frame in frames], dim=1)


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def reached_by_gradient(model: nn.Module, clips: Tensor) -> set[str]:
    """Names of the parameters that a backward pass of the squared logits gives a gradient."""
    output = model(clips)
    heads = output.values() if isinstance(output, dict) else [output]
    torch.stack([logits.square().sum() for logits in heads]).sum().backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def num_trainable(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def tiny_clip(num_frames: int = 4, batch: int = 2) -> Tensor:
    return clip((batch, 3, num_frames, SIDE_PX, SIDE_PX))
