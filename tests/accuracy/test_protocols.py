"""Presets hold what the authors did; classes are mapped by name."""

import msgspec
import pytest

import model_zoo
from vbench.accuracy import label_space, protocols, published
from vbench.accuracy.datasets import DATASETS
from vbench.accuracy.protocols import CUSTOM, Use
from vbench.accuracy.sampling import frame_indices
from vbench.accuracy.windows import Windows
from vbench.core.errors import UsageError


def use(model, dataset, num_frames, size_px=224):
    family = model_zoo.model_entry(model).family
    return Use(model=model, family=family, dataset=dataset, num_frames=num_frames, size_px=size_px)


def found(model, dataset, num_frames, size_px=224):
    return protocols.find(use(model, dataset, num_frames, size_px))


def test_every_preset_resolves_and_is_found_again():
    for preset in protocols.presets():
        in_zoo = bool(model_zoo.list_models(family=preset.family))
        assert in_zoo or preset.is_alternative, preset.name
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
        ("slow_r50_8x8", "kinetics400", 4, 30, "timed_shares", "probability_mean", "rgb"),
        ("slowfast_r101_nl_16x8", "kinetics400", 64, 30, "timed_shares", "probability_mean", "rgb"),
        ("mvitv2_small", "kinetics400", 16, 5, "timed_offset", "probability_mean", "rgb"),
        ("mvitv2_base", "ssv2", 32, 3, "segments_middle", "probability_mean", "rgb"),
        ("tsm_r50", "kinetics400", 8, 1, "segments_twice", "logit_sum", "rgb"),
        ("tsm_r50", "ssv2", 8, 6, "segments_twice", "logit_sum", "rgb"),
        ("tsn_r50", "kinetics400", 25, 10, "segments_twice", "probability_mean", "rgb"),
        ("vivit_base", "kinetics400", 32, 12, "dense_even_loop", "logit_sum", "rgb"),
        ("umt_large", "kinetics600", 16, 12, "segments_offset", "probability_mean", "rgb"),
        ("aim_base_16", "kinetics400", 16, 3, "dense_loop", "probability_mean", "rgb"),
    ],
)
def test_a_family_is_tested_as_its_authors_test_it(
    model, dataset, num_frames, views, rule, aggregate, order
):
    protocol = found(model, dataset, num_frames)
    assert protocol.is_preset
    assert (protocol.num_views, protocol.rule, protocol.aggregate, protocol.spatial.channel_order) \
        == (views, rule, aggregate, order)  # fmt: skip


# Rows of published.csv of a dataset that is supported, but of no protocol here, and why.
NOT_REPRODUCED = {
    ("vivit_large_factorized", "epic_kitchens100"): "the rate of the extracted frames is not said",
    ("umt_base", "kinetics400", 5): "as quoted elsewhere; the authors use 4 clips",
    ("umt_base", "ssv2", 4): "the table says 4 clips, the script uses 2",
    ("umt_large", "ssv2", 4): "the table says 4 clips, the script uses 2",
    ("videomamba_tiny", "ssv2", 4): "the table says 4 clips, the script uses 2",
    ("videomamba_small", "ssv2", 4): "the table says 4 clips, the script uses 2",
    ("videomamba_middle", "ssv2", 4): "the table says 4 clips, the script uses 2",
}
# Views as printed -> as the script or config of the same source makes them.
PRINTED_OTHERWISE = {
    ("tsm_r50", "kinetics400", 10, 1): (10, 3),  # full resolution: 3 crops
    ("tsn_r50", "kinetics400", 10, 1): (10, 3),
    ("tsm_r50", "kinetics400", 8, 10): (10, 10),  # 8 frames at each of 10 places
    ("tsm_r50", "ssv2", 1, 3): (2, 3),  # twice_sample
}


def published_top1():
    for name in model_zoo.list_models():
        for row in model_zoo.published(name):
            dataset = row.dataset.replace("lvu/", "lvu_").partition("/")[0]
            if row.metric == "top1_percent" and dataset in DATASETS:
                yield name, dataset, row


def has_preset(name, dataset, row):
    entry = model_zoo.model_entry(name)
    wanted = use(name, dataset, row.num_frames or entry.clip[0], row.size_px or entry.clip[1])
    views = (row.num_clips, row.num_crops)
    views = PRINTED_OTHERWISE.get((name, dataset, *views), views)
    return any(
        preset.fits(wanted)
        and views[0] in (None, preset.num_clips)
        and views[1] in (None, preset.num_crops)
        for preset in protocols.presets()
    )


def test_every_published_accuracy_has_its_protocol_or_a_reason_why_not():
    rows = list(published_top1())
    lacking = [
        (name, dataset, row.num_clips) for name, dataset, row in rows
        if not has_preset(name, dataset, row)
    ]  # fmt: skip
    assert len(rows) > 200
    assert [row for row in lacking if not {row, row[:2]} & NOT_REPRODUCED.keys()] == []
    unused = [key for key in NOT_REPRODUCED if not any(key == row[: len(key)] for row in lacking)]
    assert unused == []


def test_every_family_that_classifies_is_tested_somehow():
    families = {preset.family for preset in protocols.presets()}
    lacking = {model_zoo.model_entry(name).family for name in model_zoo.list_models()} - families
    assert lacking == {"clip", "lcr"}  # an image tower without classes; no public code


def test_convolutional_networks_are_tested_on_larger_crops_than_trained():
    spatial = found("slow_r50_8x8", "kinetics400", 8).spatial
    assert (spatial.short_side_px, spatial.crop_px, spatial.num_crops) == (256, 256, 3)
    assert found("slow_r50_8x8", "kinetics400", 8, 256).spatial == spatial
    small = protocols.find(use("x3d_s", "kinetics400", 13, 160))
    assert (small.spatial.crop_px, small.frame_stride) == (182, 6)
    assert protocols.published_sizes(small) == {None, 160, 182}
    assert protocols.published_sizes(found("mvitv2_small", "kinetics400", 16)) == {None, 224}


def test_videos_of_vivit_are_resampled():
    protocol = found("vivit_base", "kinetics400", 32)
    assert protocol.sampling.resample_fps == 25


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
        datasets=("kinetics400",), source="", fingerprint=label_space.fingerprint(CLASSES),
        places=order.places)}  # fmt: skip
    monkeypatch.setattr(label_space, "orders", lambda: known)
    columns = label_space.columns("kinetics400_uniformer", "kinetics400", CLASSES)
    assert all(order.places[columns[c]] == c for c in range(400))
    reversed_classes = CLASSES[::-1]
    again = label_space.columns("kinetics400_uniformer", "kinetics400", reversed_classes)
    assert again == columns[::-1]


def test_a_checkpoint_of_merged_datasets_is_mapped_by_hashes_of_names():
    order = label_space.orders()["kinetics710"]
    assert len(set(order.names)) == 710
    assert set(order.datasets) == {"kinetics400", "kinetics600", "kinetics700"}
    renamed = ["making bed", "Hugging", "tying tie"]  # as Kinetics-400 alone calls them
    merged = ["making the bed", "hugging baby", "tying necktie"]
    for dataset in order.datasets:
        places = label_space.columns("kinetics710", dataset, ["marching", *renamed])
        assert places == label_space.columns("kinetics710", dataset, ["marching", *merged])
        assert places[0] == 1
    assert len(set(order.renamed.values())) == len(order.renamed) == 13
    assert label_space.num_outputs("kinetics710", CLASSES) == 710
    assert label_space.num_outputs("kinetics400", CLASSES) == 400


def test_a_class_that_a_checkpoint_lacks_has_no_output_but_many_are_refused():
    classes = ["marching", "chopping vegetables"] + ["abseiling"] * 200
    places = label_space.columns("kinetics710", "kinetics600", classes)
    assert (places[0], places[1]) == (1, label_space.NO_OUTPUT)
    with pytest.raises(UsageError, match="1 of 2 classes are not among those of kinetics710"):
        label_space.columns("kinetics710", "kinetics600", classes[:2])
    assert label_space.holds("kinetics710", "kinetics600")
    assert not label_space.holds("kinetics710", "ssv2")
    assert label_space.holds("ssv2", "ssv2")


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


LVU = [name for name in DATASETS if name.startswith("lvu_")]


@pytest.mark.parametrize("dataset", LVU)
def test_windows_over_long_videos_are_taken_only_by_name_and_beside_no_published_number(dataset):
    wanted = use("videomamba_tiny", dataset, 32)
    assert not protocols.find(wanted).windows
    first = protocols.named("videomamba-lvu-windows", wanted)
    every = protocols.named("videomamba-lvu-all-windows", wanted)
    sliding = protocols.named("vis4mer-lvu", wanted)
    assert [p.is_preset for p in (first, every, sliding)] == [True, True, False]
    rules = [msgspec.convert(p.windows, Windows) for p in (first, every, sliding)]
    assert [len(rule.of(131.0)) for rule in rules] == [1, 7, 72]
    assert "the first 60 s" in str(first)
    assert published.rows("videomamba_tiny", dataset, "class", every) == []


def test_evaluations_without_windows_keep_their_identity():
    protocol = found("videomamba_tiny", "kinetics400", 16)
    assert b"windows" not in msgspec.json.encode(protocol)
