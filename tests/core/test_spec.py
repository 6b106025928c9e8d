import pytest

from vbench.core import spec
from vbench.core.errors import UsageError
from vbench.core.types import BenchSpec


def test_every_builtin_spec_parses_and_is_named_as_its_file():
    for name in spec.builtin_specs():
        assert spec.parse(spec.load(name), source=name).name == name


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"batchsize": 2}, "unknown key `batchsize`"),
        ({"timing": {"min_itres": 3}}, r"unknown key `min_itres` - at `\$\.timing`"),
        ({"num_frames": [8, 0]}, r"num_frames\[1\]"),
        ({"precisions": ["fp8"]}, "fp8"),
        ({"batch_sizes": "most"}, "most"),
        ({"batch_sizes": [0]}, r"batch_sizes"),
        ({"device": "tpu"}, r"device"),
        ({"models": []}, r"models"),
        ({"name": "../escape"}, r"name"),
        ({"resolutions_px": [[224]]}, r"resolutions_px"),
        ({"timeout_s": 0}, r"timeout_s"),
    ],
)
def test_a_wrong_key_or_value_is_a_usage_error_that_names_its_path(table, message):
    with pytest.raises(UsageError, match=message):
        spec.parse({"name": "x", "models": ["m"]} | table, source="file.toml")


def test_a_square_and_a_rectangle_may_share_a_list():
    table = {"name": "x", "models": ["m"], "resolutions_px": [224, [128, 320]]}
    assert spec.parse(table, source="x").resolutions_px == (224, (128, 320))


def test_a_missing_spec_lists_the_builtin_ones():
    with pytest.raises(UsageError, match="no such spec: figure9") as failure:
        spec.load("figure9")
    assert "figure1" in (failure.value.hint or "")


def test_a_file_that_is_not_toml_says_where(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("name = [", encoding="utf-8")
    with pytest.raises(UsageError, match=r"x\.toml is not valid TOML"):
        spec.load(path)


def test_a_binary_file_is_a_usage_error(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        spec.load(path)


def test_defaults_are_what_the_readme_says():
    default = BenchSpec(name="x", models=("m",))
    assert (default.device, default.attentions, default.isolation) == ("auto", ("sdpa",), "fork")
