"""Presets hold what the authors did; classes are mapped by name."""

import pytest

import model_zoo
from vbench.accuracy import label_space, protocols
from vbench.accuracy.datasets import DATASETS
from vbench.accuracy.protocols import CUSTOM, Use
from vbench.accuracy.sampling import frame_indices
from vbench.core.errors import UsageError


def use(model, dataset, num_frames, size_px=224):
    family = model_zoo.model_entry(model).family
    return Use(model=model, family=family, dataset=dataset, num_frames=num_frames, size_px=size_px)


def found(model, dataset, num_frames, size_px=224):
    return protocols.find(use(model, dataset, num_frames, size_px))


def test_every_preset_resolves_and_is_found_again():
    for preset in protocols.presets():
        assert model_zoo.list_models(family=preset.family), preset.name
        assert set(preset.datasets) <= set(DATASETS), preset.name
        for num_frames in preset.num_frames:
            protocol = protocols.resolve(preset, num_frames=num_frames, size_px=preset.size_px[0])
            clips = frame_indices(300, protocol.sampling, fps=30.0)
            assert len(clips) == protocol.num_clips
            assert 0 <= protocol.middle_view < protocol.num_views
    names = [preset.name for preset in protocols.presets()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("model", "dataset", "num_frames", "views", "rule", "aggregate", "order"),
    [
        ("videomamba_tiny", "kinetics400", 16, 12, "segments_offset", "probability_mean", "rgb"),
        ("videomamba_tiny", "ssv2", 8, 6, "segments_interleaved", "probability_mean", "rgb"),
        ("timesformer_base", "kinetics400", 8, 3, "timed_linspace", "logit_sum", "rgb"),
        ("timesformer_base", "ssv2", 8, 3, "segments_middle", "logit_sum", "bgr"),
        ("uniformer_small", "kinetics400", 16, 4, "dense_linspace", "logit_sum", "rgb"),
        ("uniformer_small", "ssv2", 16, 3, "segments_offset", "logit_sum", "bgr"),
        ("videomae_base", "kinetics400", 16, 15, "dense_stride_first", "probability_mean", "rgb"),
        ("evl_base_16", "kinetics400", 8, 3, "dense_centred", "probability_mean", "rgb"),
        ("aim_base_16", "ssv2", 8, 3, "segments_middle", "probability_mean", "rgb"),
        ("video_swin_tiny", "kinetics400", 32, 12, "dense_loop", "probability_mean", "rgb"),
    ],
)
def test_a_family_is_tested_as_its_authors_test_it(
    model, dataset, num_frames, views, rule, aggregate, order
):
    protocol = found(model, dataset, num_frames)
    assert protocol.is_preset
    assert (protocol.num_views, protocol.rule, protocol.aggregate, protocol.spatial.channel_order) \
        == (views, rule, aggregate, order)  # fmt: skip


def test_evl_sees_three_clips_of_eight_frames_and_three_crops_of_sixteen():
    few, many = found("evl_base_16", "kinetics400", 8), found("evl_base_16", "kinetics400", 16)
    assert (few.num_clips, few.spatial.num_crops) == (3, 1)
    assert (many.num_clips, many.spatial.num_crops) == (1, 3)


@pytest.mark.parametrize(
    ("model", "dataset", "num_frames", "size_px"),
    [
        ("videomamba_tiny", "kinetics400", 12, 224),
        ("videomamba_tiny", "folder", 16, 224),
        ("videomamba_tiny", "kinetics400", 16, 112),
        ("timesformer_tiny", "kinetics400", 8, 224),
    ],
)
def test_anything_unpublished_is_a_custom_protocol(model, dataset, num_frames, size_px):
    protocol = found(model, dataset, num_frames, size_px)
    assert protocol.name == CUSTOM
    assert not protocol.is_preset
    assert (protocol.num_frames, protocol.spatial.crop_px) == (num_frames, size_px)


def test_a_preset_used_on_another_dataset_is_custom_and_says_after_which():
    protocol = protocols.named("uniformer-16x8-kinetics", use("uniformer_small", "folder", 16))
    assert not protocol.is_preset
    assert protocol.source == "after uniformer-16x8-kinetics"
    assert protocol.frame_stride == 8


def test_an_alternative_is_used_only_by_name():
    wanted = use("uniformer_small", "kinetics400", 16)
    assert protocols.find(wanted).frame_stride == 4
    assert protocols.named("uniformer-16x8-kinetics", wanted).is_preset
    with pytest.raises(UsageError, match="unknown protocol: nothing"):
        protocols.named("nothing", wanted)


def test_imagenet_images_are_cut_from_a_larger_one():
    spatial = found("videomamba_image_tiny", "imagenet1k", 1).spatial
    assert (spatial.short_side_px, spatial.crop_px, spatial.backend) == (256, 224, "pil_bicubic")


CLASSES = [f"class {place:03d}" for place in range(400)]


def test_a_permuted_checkpoint_is_mapped_by_name(monkeypatch):
    order = label_space.orders()["kinetics400_uniformer"]
    assert sorted(order.places) == list(range(400))
    assert sum(a == b for a, b in enumerate(order.places)) < 5
    known = {"kinetics400_uniformer": label_space.Order(
        dataset="kinetics400", source="", fingerprint=label_space.fingerprint(CLASSES),
        places=order.places)}  # fmt: skip
    monkeypatch.setattr(label_space, "orders", lambda: known)
    columns = label_space.columns("kinetics400_uniformer", "kinetics400", CLASSES)
    assert all(order.places[columns[c]] == c for c in range(400))
    reversed_classes = CLASSES[::-1]
    again = label_space.columns("kinetics400_uniformer", "kinetics400", reversed_classes)
    assert again == columns[::-1]


def test_the_same_classes_need_no_map_and_others_are_refused():
    assert label_space.columns("ssv2", "ssv2", CLASSES) == list(range(400))
    with pytest.raises(UsageError, match="are those of kinetics600, not of kinetics400"):
        label_space.columns("kinetics600", "kinetics400", CLASSES)
    with pytest.raises(UsageError, match="not those that kinetics400_uniformer orders"):
        label_space.columns("kinetics400_uniformer", "kinetics400", CLASSES)


def test_outputs_are_matched_by_name_whatever_the_spelling():
    outputs = ["Tap_Dancing", "unused", "'abseiling'"]
    assert label_space.columns_by_name(outputs, ["abseiling", "tap dancing"]) == [2, 0]
    with pytest.raises(UsageError, match="1 of 2 classes have no output"):
        label_space.columns_by_name(["abseiling"], ["abseiling", "yoga"])
    with pytest.raises(UsageError, match="two outputs"):
        label_space.columns_by_name(["a_b", "a b"], ["a b"])
