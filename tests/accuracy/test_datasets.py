"""Each dataset's official annotation format, in a few made-up lines, is read as it is meant."""

import csv
import json

import numpy as np
import pytest

from vbench.accuracy.datasets import DATASETS, Dataset, Video, jester, load, opposites
from vbench.accuracy.datasets.files import Media
from vbench.core.errors import UsageError


def put(root, **texts):
    """Write text files; `__` in a name is a folder, `_DOT_` a dot."""
    for name, content in texts.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def facts(dataset):
    return [(v.key, v.path, *v.labels.values()) for v in dataset.videos]


def test_kinetics_official_csv_with_quotes_and_ids_that_start_with_a_dash(tmp_path):
    put(
        tmp_path,
        val_DOT_csv="label,youtube_id,time_start,time_end,split\n"
        '"yoga",-0_ab-CDe_1,10,20,val\nabseiling,AAAAAAAAAAA,0,10,val\nyoga,gone_______,1,11,val\n',
    )
    touch(tmp_path, "videos/-0_ab-CDe_1_000010_000020.mp4", "more/AAAAAAAAAAA.mkv")
    dataset = load("kinetics400", root=tmp_path)
    assert dataset.heads == {"class": ("abseiling", "yoga")}
    assert facts(dataset) == [
        ("-0_ab-CDe_1", "videos/-0_ab-CDe_1_000010_000020.mp4", 1),
        ("AAAAAAAAAAA", "more/AAAAAAAAAAA.mkv", 0),
        ("gone_______", "gone________000001_000011.mp4", 1),
    ]
    assert dataset.videos[0].slices == ("static32",)


@pytest.mark.parametrize("separator", [",", " ", "\t"])
def test_kinetics_list_of_paths_with_spaces_and_numbers(tmp_path, separator):
    put(
        tmp_path,
        val_DOT_txt=f"val/a b/one two.mp4{separator}1\n/their/place/v.mp4{separator}0\n",
        classes_DOT_txt="walking\na b\n",
    )
    touch(tmp_path, "val/a b/one two.mp4", "mine/v.mp4")
    assert facts(load("kinetics600", root=tmp_path)) == [
        ("one two", "val/a b/one two.mp4", 1),
        ("v", "mine/v.mp4", 0),
    ]


def test_kinetics_list_without_names_is_refused_with_a_way_out(tmp_path):
    put(tmp_path, val_DOT_csv="a.mp4,0\n")
    with pytest.raises(UsageError, match="does not name them") as caught:
        load("kinetics400", root=tmp_path)
    assert "classes.txt" in (caught.value.hint or "")


def test_kinetics_class_folders(tmp_path):
    touch(tmp_path, "val/tap_dancing/x.mp4", "val/abseiling/y.mp4")
    dataset = load("kinetics400", root=tmp_path)
    assert dataset.heads["class"] == ("abseiling", "tap dancing")
    assert [video.slices for video in dataset.videos] == [(), ("temporal32",)]


def test_ssv2_templates_are_joined_to_their_numbers(tmp_path):
    put(
        tmp_path,
        labels__labels_DOT_json=json.dumps({"Holding something": "0", "Turning something": "1"}),
        labels__validation_DOT_json=json.dumps(
            [{"id": "74225", "label": "turning a cup", "template": "Turning [something]"}]
        ),
    )
    touch(tmp_path, "20bn-something-something-v2/74225.webm")
    dataset = load("ssv2", root=tmp_path)
    assert facts(dataset) == [("74225", "20bn-something-something-v2/74225.webm", 1)]


def test_jester_reads_folders_of_frames(tmp_path):
    put(
        tmp_path,
        **{
            "jester-v1-labels_DOT_csv": "Swiping Left\nSwiping Right\nNo gesture\n",
            "jester-v1-validation_DOT_csv": "9223;Swiping Right\n34;No gesture\n",
        },
    )
    touch(tmp_path, "20bn-jester-v1/9223/00001.jpg")
    dataset = load("jester", root=tmp_path)
    assert facts(dataset) == [("9223", "20bn-jester-v1/9223", 1), ("34", "20bn-jester-v1/34", 2)]
    assert [video.slices for video in dataset.videos] == [("directional", "left/right"), ()]
    assert dataset.reversals == {"class": (1, 0, -1)}


def test_gestures_are_paired_with_their_opposites():
    classes = ["Pushing Hand Away", "Pulling Hand In", "Turning Hand Clockwise", "Thumb Up",
               "Turning Hand Counterclockwise", "Zooming In With Full Hand", "Thumb Down",
               "Zooming Out With Full Hand", "Doing other things"]  # fmt: skip
    pairs = opposites.opposite_places(classes, jester.DIRECTIONS)
    assert jester.backwards(classes, pairs) == (1, 0, 4, 3, 2, 7, 6, 5, -1)
    assert jester.slices_of(2, pairs) == ("directional", "clockwise/counterclockwise")


def test_templates_are_paired_with_what_they_look_like_backwards(tmp_path):
    classes = ["Closing it", "Moving it away from the rim", "Moving it closer to the rim",
               "Opening it", "Putting it into a cup", "Pulling it from left to right",
               "Pulling it from right to left", "Taking it out of a cup", "Tearing it"]  # fmt: skip
    put(
        tmp_path,
        labels_DOT_json=json.dumps({name: str(i) for i, name in enumerate(classes)}),
        validation_DOT_json=json.dumps(
            [{"id": i, "template": name} for i, name in enumerate(classes)]
        ),
    )
    dataset = load("ssv2", root=tmp_path)
    assert dataset.reversals == {"class": (3, 2, 1, 0, 7, 6, 5, 4, -1)}
    assert [video.slices for video in dataset.videos] == [("reversible",)] * 8 + [()]


EPIC_HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,"
    "start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
)


def put_epic(root):
    put(
        root,
        annotations__EPIC_100_validation_DOT_csv=EPIC_HEADER
        + "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.50,1,90,take plate,take,0,plate,2,"
        "\"['plate']\",[2]\n"
        "P18_02_7,P18,P18_02,00:01:00.560,00:01:08.80,00:01:10.00,4128,4200,open door,open,1,door,"
        "1,\"['door', 'handle']\",\"[1, 0]\"\n",
        annotations__EPIC_100_verb_classes_DOT_csv="id,key,instances,category\n"
        "0,take,\"['take']\",retrieve\n1,open,\"['open']\",access\n",
        annotations__EPIC_100_noun_classes_DOT_csv="id,key,instances,category\n"
        "0,handle,x,y\n1,door,x,y\n2,plate,x,y\n",
        annotations__EPIC_100_tail_verbs_DOT_csv="verb\n1\n",
        annotations__EPIC_100_tail_nouns_DOT_csv="noun\n0\n",
        annotations__EPIC_100_unseen_participant_ids_validation_DOT_csv="participant_id\nP18\nP32\n",
    )


def test_epic_segments_are_cut_by_time_and_keep_their_slices(tmp_path):
    put_epic(tmp_path)
    touch(tmp_path, "P01/videos/P01_11.MP4", "clips/P18_02_7.mp4")
    dataset = load("epic_kitchens100", root=tmp_path)
    assert dataset.num_classes == {"verb": 2, "noun": 3}
    whole, cut = dataset.videos
    assert (whole.path, whole.start_s, whole.stop_s) == ("P01/videos/P01_11.MP4", 0.0, 1.5)
    assert (whole.labels, whole.group, whole.slices) == ({"verb": 0, "noun": 2}, "P01_11", ())
    assert (cut.path, cut.start_s, cut.slices) == ("clips/P18_02_7.mp4", None, ("unseen", "tail"))


def test_epic_extracted_frames_are_cut_by_number(tmp_path):
    put_epic(tmp_path)
    touch(tmp_path, "P01/rgb_frames/P01_11/frame_0000000001.jpg")
    video = load("epic_kitchens100", root=tmp_path).videos[0]
    assert video.path == "P01/rgb_frames/P01_11"
    assert (video.start_s, video.start_frame, video.stop_frame) == (None, 1, 90)


def test_breakfast_keeps_the_cameras_apart(tmp_path):
    touch(tmp_path, "P47/cam01/P47_cereals.avi", "P47/webcam01/P47_cereals.avi",
          "P03/stereo01/P03_tea_ch0.avi")  # fmt: skip
    put(
        tmp_path,
        test_DOT_csv="file_name,duration,action,class_id\nP47-cam01-P47_cereals,30,cereals,0\n"
        "P47-webcam01-P47_cereals,31,cereals,0\n",
    )
    dataset = load("breakfast", root=tmp_path)
    assert [video.key for video in dataset.videos] == [
        "P47/cam01/P47_cereals.avi",
        "P47/webcam01/P47_cereals.avi",
    ]
    assert {video.group for video in dataset.videos} == {"P47"}
    official = load("breakfast", root=tmp_path, split="s1")
    assert facts(official) == [("P03/stereo01/P03_tea_ch0.avi",) * 2 + (1,)]


def test_coin_takes_the_task_of_the_whole_video(tmp_path):
    entry = {"class": "MakeTea", "recipe_type": 1, "duration": 60.0, "annotation": []}
    database = {
        "AAAAAAAAAAA": entry | {"subset": "testing"},
        "BBBBBBBBBBB": entry | {"subset": "training", "recipe_type": 0, "class": "CutHair"},
    }
    put(tmp_path, COIN_DOT_json=json.dumps({"database": database}))
    touch(tmp_path, "videos/1/AAAAAAAAAAA.mp4")
    dataset = load("coin", root=tmp_path)
    assert dataset.heads["class"] == ("CutHair", "MakeTea")
    assert facts(dataset) == [("AAAAAAAAAAA", "videos/1/AAAAAAAAAAA.mp4", 1)]


def test_lvu_keeps_gaps_in_class_ids_and_spaces_in_names(tmp_path):
    put(
        tmp_path,
        director__test_DOT_csv="class_id class_name youtube_id imdb_id\n"
        "0 Ron Howard x1 tt1\n4 Jane Campion x2 tt2\n",
    )
    dataset = load("lvu_director", root=tmp_path)
    names = dataset.heads["class"]
    assert len(names) == 10
    assert (names[0], names[1], names[4]) == ("Ron Howard", "class 1", "Jane Campion")
    assert [(v.key, v.labels["class"], v.group) for v in dataset.videos] == [
        ("x1", 0, "tt1"),
        ("x2", 4, "tt2"),
    ]


def test_lvu_regression_targets_are_centred_as_the_authors_do(tmp_path):
    put(
        tmp_path,
        like_ratio__test_DOT_csv="like_count dislike_count youtube_id imdb_id\n3 1 x1 tt1\n",
        view_count__test_DOT_csv="view_count youtube_id imdb_id\n1000 x1 tt1\n",
    )
    likes, views = (load(f"lvu_{task}", root=tmp_path) for task in ("like_ratio", "view_count"))
    assert likes.videos[0].target == pytest.approx(7.5 - 9.138220535629456)
    assert views.videos[0].target == pytest.approx(np.log(1000) - 11.76425435683139)
    assert likes.num_classes == 1


def test_lvu_reads_lists_of_videomamba_with_their_durations(tmp_path):
    put(
        tmp_path,
        scene__test_DOT_csv="clips/x,1.mp4,2,93.5\nclips/x2.mp4,0,131\n",
        view_count__test_DOT_csv="x1.mp4,-0.25,60\n",
    )
    scenes, views = (load(f"lvu_{task}", root=tmp_path) for task in ("scene", "view_count"))
    assert [(v.key, v.labels["class"], v.duration_s, v.group) for v in scenes.videos] == [
        ("x,1", 2, 93.5, None),
        ("x2", 0, 131.0, None),
    ]
    assert len(scenes.heads["class"]) == 6
    assert [(v.key, v.target, v.duration_s) for v in views.videos] == [("x1", -0.25, 60.0)]
    for content, words in (
        ("a list of nothing known\n", "neither LVU's list nor one of PATH,LABEL,DURATION"),
        ("x1.mp4,1.5,60\n", "no whole number where one is wanted: '1.5'"),
        ("class_id class_name youtube_id imdb_id\n", "lists no video"),
    ):
        put(tmp_path, genre__test_DOT_csv=content)
        with pytest.raises(UsageError, match=words):
            load("lvu_genre", root=tmp_path)


@pytest.mark.parametrize("name", ["lvu_scene", "kinetics400", "jester", "ucf101"])
def test_an_empty_list_is_named(tmp_path, name):
    for file in ("test.csv", "val.csv", "jester-v1-labels.csv", "jester-v1-validation.csv",
                 "classInd.txt", "testlist01.txt"):  # fmt: skip
        (tmp_path / file).write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        load(name, root=tmp_path)


def test_lvu_takes_durations_from_the_file_of_vis4mer_if_it_is_there(tmp_path):
    put(
        tmp_path,
        scene__test_DOT_csv="class_id class_name youtube_id imdb_id\n0 a b x1 tt1\n1 c x2 tt2\n",
        lvu_durations_DOT_csv="videoid,duration\nx1,83\n",
    )
    durations = [video.duration_s for video in load("lvu_scene", root=tmp_path).videos]
    assert durations == [83.0, None]


def test_ucf101_counts_classes_from_one_and_groups_people(tmp_path):
    put(
        tmp_path,
        ucfTrainTestlist__classInd_DOT_txt="1 ApplyEyeMakeup\r\n2 YoYo\r\n",
        ucfTrainTestlist__testlist01_DOT_txt="YoYo/v_YoYo_g01_c02.avi\n",
        ucfTrainTestlist__trainlist01_DOT_txt="ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n",
    )
    touch(tmp_path, "UCF-101/YoYo/v_YoYo_g01_c02.avi")
    dataset = load("ucf101", root=tmp_path)
    assert facts(dataset) == [("YoYo/v_YoYo_g01_c02.avi", "UCF-101/YoYo/v_YoYo_g01_c02.avi", 1)]
    assert dataset.videos[0].group == "v_YoYo_g01"
    assert load("ucf101", root=tmp_path, split="train1").videos[0].labels == {"class": 0}


def test_hmdb51_takes_the_marked_videos_and_odd_names(tmp_path):
    put(
        tmp_path,
        splits__brush_hair_test_split1_DOT_txt="a (1)&!_h.avi 2 \nb.avi 1 \nc.avi 0 \n",
        splits__wave_test_split1_DOT_txt="d.avi 2\n",
    )
    dataset = load("hmdb51", root=tmp_path, annotations=tmp_path / "splits")
    assert facts(dataset) == [
        ("brush_hair/a (1)&!_h", "brush_hair/a (1)&!_h.avi", 0),
        ("wave/d", "wave/d.avi", 1),
    ]


def test_imagenet_class_folders_are_in_the_order_of_their_ids(tmp_path):
    touch(tmp_path, "val/n02/b.JPEG", "val/n01/a.JPEG")
    assert facts(load("imagenet1k", root=tmp_path)) == [
        ("a", "val/n01/a.JPEG", 0),
        ("b", "val/n02/b.JPEG", 1),
    ]


def test_imagenet_devkit_numbers_are_not_the_order_of_ids(tmp_path):
    from scipy.io import savemat

    touch(tmp_path, "val/ILSVRC2012_val_00000001.JPEG", "val/ILSVRC2012_val_00000002.JPEG")
    put(tmp_path, data__ILSVRC2012_validation_ground_truth_DOT_txt="1\n2\n")
    synsets = np.array(
        [(1, "n02119789", "fox"), (2, "n01440764", "tench")],
        dtype=[("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O")],
    )
    savemat(tmp_path / "data" / "meta.mat", {"synsets": synsets})
    dataset = load("imagenet1k", root=tmp_path)
    assert dataset.heads["class"] == ("n01440764", "n02119789")
    assert [video.labels["class"] for video in dataset.videos] == [1, 0]


def test_a_folder_of_classes_and_a_table_of_verbs_and_nouns(tmp_path):
    touch(tmp_path / "a", "val/run/x.mp4", "val/jump/y.mp4", "val/jump/frames/0001.jpg")
    assert facts(load("folder", root=tmp_path / "a")) == [
        ("jump/frames", "val/jump/frames", 0),
        ("jump/y.mp4", "val/jump/y.mp4", 0),
        ("run/x.mp4", "val/run/x.mp4", 1),
    ]
    put(tmp_path / "b", labels_DOT_csv="path,verb,noun,group\nx.mp4,cut,egg,film\ny.mp4,cut,ham,\n")
    dataset = load("folder", root=tmp_path / "b")
    assert dataset.num_classes == {"verb": 1, "noun": 2}
    assert [video.group for video in dataset.videos] == ["film", None]


def test_the_order_of_classes_can_be_given(tmp_path):
    touch(tmp_path, "run/x.mp4", "jump/y.mp4")
    put(tmp_path, classes_DOT_txt="run\nsit\njump\n")
    dataset = load("folder", root=tmp_path)
    assert dataset.heads["class"] == ("run", "sit", "jump")
    assert {v.key: v.labels["class"] for v in dataset.videos} == {"run/x.mp4": 0, "jump/y.mp4": 2}


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("kinetics40", None, "unknown dataset: kinetics40"),
        ("kinetics400", "minival", "kinetics400 has no split: minival"),
        ("ssv2", None, "no annotations in"),
        ("folder", None, "lists no video"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, split, message):
    with pytest.raises(UsageError, match=message):
        load(name, root=tmp_path, split=split)


def test_a_video_listed_twice_is_refused(tmp_path):
    video = Video(key="a", path="a.mp4", labels={"class": 0})
    with pytest.raises(UsageError, match="lists a video twice: a"):
        Dataset(name="x", split="val", root=tmp_path, heads={}, videos=(video, video))


def test_the_fingerprint_of_a_list_ignores_order_and_place(tmp_path):
    videos = [Video(key=key, path=f"{key}.mp4", labels={"class": 0}) for key in "abc"]
    moved = [Video(key=key, path=f"else/{key}.mp4", labels={"class": 0}) for key in "cab"]
    other = [Video(key=key, path=f"{key}.mp4", labels={"class": 1}) for key in "abc"]
    hashes = [
        Dataset(name="x", split="val", root=tmp_path, heads={}, videos=tuple(v)).list_sha256
        for v in (videos, moved, other)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_every_dataset_is_registered_with_what_a_user_must_bring():
    assert {"kinetics400", "kinetics600", "kinetics700", "ssv2", "jester", "epic_kitchens100",
            "breakfast", "coin", "ucf101", "hmdb51", "imagenet1k", "folder",
            "lvu_director"} <= set(DATASETS)  # fmt: skip
    assert all(DATASETS[name].layout for name in DATASETS)


def test_media_follows_links_and_finds_each_stem(tmp_path):
    touch(tmp_path / "far", "x/one.MP4")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "far")
    assert Media(tmp_path / "root").find("one") == "link/x/one.MP4"


def test_csv_files_are_read_as_python_writes_them(tmp_path):
    path = tmp_path / "labels.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label"), ('a,"b".mp4', "say hi, loudly")])
    dataset = load("folder", root=tmp_path)
    assert dataset.heads["class"] == ("say hi, loudly",)
    assert dataset.videos[0].path == 'a,"b".mp4'
