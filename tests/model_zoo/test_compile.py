"""Every architecture compiles as one graph in inference, the zoo's own operators included.

Only capturing can break a graph, so nothing is generated from it and nothing needs storage.
"""

import pytest
import torch

import model_zoo

# Family -> variant, frames, side: the smallest input that reaches all of its code.
SMALLEST = {
    "aim": ("aim_base_16", 2, 32),
    "c3d": ("c3d", 16, 112),
    "cast": ("cast_base_16_ek100", 16, 224),
    "clip": ("clip_vit_base_16", 1, 32),
    "evl": ("evl_base_16", 2, 32),
    "i3d": ("i3d_r50_nl", 4, 32),
    "lcr": ("lcr_jester", 2, 64),
    "mvitv2": ("mvitv2_small", 2, 32),
    "r2plus1d": ("r2plus1d_18", 2, 32),
    "slow": ("slow_r50_8x8", 2, 32),
    "slowfast": ("slowfast_r50_4x16", 32, 32),
    "st_adapter": ("st_adapter_base_16", 2, 32),
    "timesformer": ("timesformer_tiny", 2, 32),
    "tsm": ("tsm_r50", 8, 32),
    "tsn": ("tsn_r50", 2, 32),
    "umt": ("umt_base", 2, 32),
    "uniformer": ("uniformer_small", 4, 32),
    "video_swin": ("video_swin_tiny", 4, 64),
    "videomae": ("videomae_small", 4, 32),
    "videomaev2": ("videomaev2_small", 4, 32),
    "videomamba": ("videomamba_tiny", 2, 32),
    "videomamba_image": ("videomamba_image_tiny", 1, 32),
    "vim": ("vim_tiny", 1, 32),
    "vision_rwkv": ("vision_rwkv_tiny", 1, 32),
    "vivit": ("vivit_base_factorized", 4, 32),
    "vmamba": ("vmamba_tiny", 1, 32),
    "x3d": ("x3d_s", 4, 32),
}
# Family -> why it cannot be one graph; its docstring says so too. None so far.
BROKEN: dict[str, str] = {}
# Families that are captured with storage, as on meta the capture itself fails.
ON_CPU = {
    "lcr": "torch 2.13 takes a tensor made on meta in forward for one that is not fake",
}


def test_every_architecture_is_in_the_table():
    families = {model_zoo.model_entry(name).family for name in model_zoo.list_models()}
    assert families == SMALLEST.keys()
    assert BROKEN.keys() <= families


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALLEST)
def test_an_architecture_compiles_as_one_graph(family):
    name, num_frames, side = SMALLEST[family]
    torch._dynamo.reset()
    with torch.device("cpu" if family in ON_CPU else "meta"):
        model = model_zoo.create_model(name, num_frames=num_frames, resolution=side).eval()
        clips = torch.zeros(1, 3, num_frames, side, side)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.inference_mode():
        if family in BROKEN:
            with pytest.raises(torch._dynamo.exc.Unsupported):
                compiled(clips)
            return
        assert shapes(compiled(clips)) == shapes(model(clips))


def shapes(output):
    heads = output if isinstance(output, dict) else {"": output}
    return {head: logits.shape for head, logits in heads.items()}
