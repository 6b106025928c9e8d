"""The ledger of printed numbers: a person maintains it, so the file itself is checked."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

import model_zoo
from model_zoo._published import METRICS, SCALES

FILE = Path(model_zoo.__file__).with_name("published.csv")
UNITS = {
    "params": {"M"},
    "trainable_params": {"M"},
    "macs": {"G", "T"},
    "macs_per_video": {"G", "T"},
    "top1_percent": {"%"},
    "top5_percent": {"%"},
    "mse": {""},
}


@pytest.fixture(scope="module")
def numbers():
    return model_zoo.published(second_hand=True)


def test_every_variant_is_one_of_the_zoo_or_of_timm(numbers):
    named = {row.variant for row in numbers if row.variant}
    unknown = named - set(model_zoo.list_models())
    assert {name for name in unknown if not name.startswith("timm:")} == set()


def test_metrics_and_units_are_known_and_fit_together(numbers):
    assert set(UNITS) == set(METRICS)
    assert set().union(*UNITS.values()) == set(SCALES)
    wrong = [row for row in numbers if row.unit not in UNITS.get(row.metric, set())]
    assert wrong == []


def test_every_number_is_positive_and_says_where_it_is_printed(numbers):
    source = re.compile(r"arXiv:\d{4}\.\d{5}|[\w.-]+/[\w.-]+(@[0-9a-f]{8})?|docs\.openvino\.ai")
    for row in numbers:
        assert row.value > 0
        assert row.rounding > 0
        assert source.fullmatch(row.source), row.source
        assert row.location or row.is_second_hand, row
        assert row.model
        assert re.fullmatch(r"[a-z0-9_]+(/[a-z_]+)?", row.dataset), row.dataset


def test_an_accuracy_is_a_percentage(numbers):
    assert all(row.value <= 100 for row in numbers if row.metric.endswith("_percent"))


def test_an_operation_count_keeps_the_printed_word(numbers):
    counts = [row for row in numbers if row.metric.startswith("macs")]
    assert counts
    assert all("FLOP" in row.note for row in counts)
    views = [row.num_views for row in counts if row.metric == "macs_per_video"]
    assert all(number is not None and number > 1 for number in views)


def test_no_row_is_there_twice(numbers):
    assert [row for row, count in Counter(numbers).items() if count > 1] == []


def test_the_file_is_plain_text_with_whole_rows():
    text = FILE.read_bytes()
    assert text.isascii()
    assert b"\r" not in text
    with FILE.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert {len(row) for row in rows} == {len(header)}
    assert all(cell == cell.strip() for row in rows for cell in row)


def test_what_was_not_read_in_its_source_is_left_out_unless_asked_for():
    assert model_zoo.published("lcr_jester") == ()
    kept = model_zoo.published("lcr_jester", second_hand=True)
    assert {row.text for row in kept if row.metric == "macs"} == {"0.022 T"}


def test_values_are_in_base_units_and_know_their_rounding():
    paper = [row for row in model_zoo.published("timesformer_base") if "2102" in row.source]
    macs = next(row for row in paper if row.metric == "macs_per_video")
    assert macs.value == pytest.approx(0.59e12)
    assert macs.rounding == pytest.approx(0.005e12)
    assert macs.num_views == 3
    figure = next(r for r in model_zoo.published("evl_base_16") if r.printed == "444+-18")
    assert (figure.value, figure.rounding) == (444e9, 18e9)


def test_every_family_with_a_paper_of_its_own_has_published_numbers():
    named = {row.variant for row in model_zoo.published()}
    families = {model_zoo.model_entry(name).family for name in model_zoo.list_models()}
    covered = {model_zoo.model_entry(n).family for n in model_zoo.list_models() if n in named}
    assert families - covered <= {"clip", "lcr", "vision_rwkv", "vmamba"}
