"""The three layouts in which PySlowFast's ResNets and X3D were released.

PySlowFast's own names are ours. Its Caffe2 pickles are renamed as in
facebookresearch/SlowFast@287ec00, slowfast/utils/c2_model_loading.py; PyTorchVideo's files number
the modules of facebookresearch/pytorchvideo@f3142bb, pytorchvideo/models/{resnet,slowfast,x3d}.py,
with ``model.`` before them where PySlowFast trained them.
"""

import re
from typing import Final

import torch
from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion

# Caffe2 blob without its last part -> the convolution's (or linear layer's) name, and its norm's.
_CAFFE2: Final = (
    (r"conv1|res_conv1", "s1.pathway{p}_stem.conv", "s1.pathway{p}_stem.bn"),
    (r"res(\d)_(\d+)_branch1", "s{0}.pathway{p}_res{1}.branch1", None),
    (r"res(\d)_(\d+)_branch2([abc])", "s{0}.pathway{p}_res{1}.branch2.{2}", None),
    (r"pool1_subsample", "s1_fuse.conv_f2s", "s1_fuse.bn"),
    (r"res(\d)_\d+_branch2c_bn_subsample", "s{0}_fuse.conv_f2s", "s{0}_fuse.bn"),
    (r"nonlocal_conv(\d)_(\d+)_(theta|phi|g|out)", "s{0}.pathway0_nonlocal{1}.conv_{2}", None),
    (r"nonlocal_conv(\d)_(\d+)", None, "s{0}.pathway0_nonlocal{1}.bn"),
    (r"pred", "head.projection", None),
)
_CAFFE2_LEAVES: Final = {
    "w": "weight",
    "b": "bias",
    "s": "weight",
    "rm": "running_mean",
    "riv": "running_var",
}
_CAFFE2_TRAINING_STATE: Final = re.compile(r".*_momentum|lr|model_iter")

_PYTORCHVIDEO: Final = (
    (r"multipathway_fusion\.conv_fast_to_slow\.", r"_fuse.conv_f2s."),
    (r"multipathway_fusion\.norm\.", r"_fuse.bn."),
    (r"multipathway_blocks\.(\d)\.(conv|norm)\.", r".pathway\1_stem.\2."),
    (r"multipathway_blocks\.(\d)\.res_blocks\.(\d+)\.", r".pathway\1_res\2."),
    (r"res_blocks\.(\d+)\.", r".pathway0_res\1."),
    (r"conv\.conv_t\.", r".pathway0_stem.conv_xy."),  # X3D's stem swaps the two names
    (r"conv\.conv_xy\.", r".pathway0_stem.conv."),
    (r"(conv|norm)\.", r".pathway0_stem.\1."),
    (r"pool\.pre_conv\.", r"head.conv_5."),
    (r"pool\.pre_norm\.", r"head.conv_5_bn."),
    (r"pool\.post_conv\.", r"head.lin_5."),
    (r"proj\.", r"head.projection."),
)
_PYTORCHVIDEO_INSIDE: Final = (
    (r"_stem\.norm\.", "_stem.bn."),
    (r"\.branch1_conv\.", ".branch1."),
    (r"\.branch1_norm\.", ".branch1_bn."),
    (r"\.norm_b\.0\.", ".b_bn."),
    (r"\.norm_b\.1\.block\.0\.", ".se.fc1."),
    (r"\.norm_b\.1\.block\.2\.", ".se.fc2."),
    (r"\.conv_([abc])\.", r".\1."),
    (r"\.norm_([abc])\.", r".\1_bn."),
)


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Give the model's names to any of the three layouts."""
    if "pred_w" in state:
        return _from_caffe2(state, model)
    bare = {name.removeprefix("model."): value for name, value in state.items()}
    if any(name.startswith("blocks.") for name in bare):
        return _from_pytorchvideo(bare, model)
    return Conversion(state=state)


def _from_caffe2(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    own = model.state_dict()
    renamed = {}
    for blob, value in state.items():
        if _CAFFE2_TRAINING_STATE.fullmatch(blob):
            continue
        name = from_caffe2_name(blob)
        is_flat = name in own and value.ndim < own[name].ndim and value.numel() == own[name].numel()
        renamed[name] = value.reshape(own[name].shape) if is_flat else value
    return Conversion(
        state=renamed, notes=("Caffe2 blobs renamed, the optimiser's state left out",)
    )


def from_caffe2_name(blob: str) -> str:
    """Our name of a Caffe2 blob, or the blob's where it has none.

    >>> from_caffe2_name("t_res4_5_branch2c_bn_subsample_bn_riv")
    's4_fuse.bn.running_var'
    """
    parts = re.fullmatch(r"(t_)?(.+?)(_bn)?_(w|b|s|rm|riv)", blob)
    if parts is None:
        return blob
    pathway, body, is_norm, leaf = parts.groups()
    for pattern, layer, norm in _CAFFE2:
        found = re.fullmatch(pattern, body)
        template = (norm or f"{layer}_bn") if is_norm else layer
        if found and template:
            name = template.format(*found.groups(), p=1 if pathway else 0)
            return f"{name}.{_CAFFE2_LEAVES[leaf]}"
    return blob


def _from_pytorchvideo(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    blocks = {int(name.split(".")[1]) for name in state if "res_blocks." in name}
    stages = {0: "s1"} | {block: f"s{i}" for i, block in enumerate(sorted(blocks), start=2)}
    renamed = {_from_pytorchvideo_name(name, stages): value for name, value in state.items()}
    notes = ["PyTorchVideo's names replaced"]
    norm, own = "s2.pathway0_res0.branch1_bn", model.state_dict()
    is_x3d = "head.lin_5.weight" in renamed
    if is_x3d and f"{norm}.weight" not in renamed:
        # the variance is what batch normalisation's epsilon completes to 1
        neutral = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - 1e-5}
        for leaf, value in neutral.items():
            shape = own[f"{norm}.{leaf}"].shape
            renamed[f"{norm}.{leaf}"] = torch.full(shape, value, dtype=torch.float64)
        notes.append(f"`{norm}`, which PyTorchVideo's X3D lacks, set to change nothing")
    return Conversion(state=renamed, notes=notes)


def _from_pytorchvideo_name(name: str, stages: dict[int, str]) -> str:
    parts = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if parts is None:
        return name
    stage, rest = stages.get(int(parts[1]), ""), parts[2]
    for pattern, replacement in _PYTORCHVIDEO:
        if re.match(pattern, rest):
            rest = stage + re.sub(f"^{pattern}", replacement, rest)
            break
    for pattern, replacement in _PYTORCHVIDEO_INSIDE:
        rest = re.sub(pattern, replacement, rest)
    return rest
