import json
import subprocess
import sys

import pytest
from torch import Tensor, nn

from tests.measure.counting.models import Failing, meta, on_meta
from vbench.core.types import Case, ClipSpec
from vbench.measure.probes import PROBES
from vbench.measure.probes.fvcore_macs import fvcore_macs
from vbench.measure.probes.macs import macs
from vbench.measure.probes.thop_macs import thop_macs
from vbench.measure.subject import Subject, build


def built(name: str, **options) -> Subject:
    clip = ClipSpec(num_frames=2, height_px=32, width_px=32)
    return build(Case(model=name, clip=clip, batch_size=3, device="meta", **options), 3)


def with_model(model: nn.Module, clips: Tensor) -> Subject:
    case = Case(model="own", clip=ClipSpec(num_frames=1), batch_size=2, device="meta")
    model = on_meta(model)
    return Subject(case=case, batch_size=2, model=model, clips=clips, step=lambda: model(clips))


@pytest.mark.parametrize("name", ["macs", "fvcore_macs", "thop_macs"])
def test_counters_run_on_meta_and_only_ours_by_default(name):
    probe = PROBES[name]
    assert probe.devices == ("meta",)
    assert probe.default == (name == "macs")
    assert all(metric.kind == "counted" for metric in probe.metrics)


@pytest.mark.parametrize("name", ["timesformer_tiny", "videomamba_tiny"])
def test_every_value_is_declared_and_operators_add_up(name):
    samples = macs(built(name))
    assert set(samples.values) <= {metric.name for metric in PROBES["macs"].metrics}
    by_operator = json.loads(samples.notes["macs_by_operator"])
    by_part = json.loads(samples.notes["macs_by_part"])
    assert [sum(by_operator.values())] == samples.values["macs"]
    assert [sum(by_part.values())] == samples.values["macs"]
    assert "macs_not_counted" not in samples.notes


def test_only_a_model_with_a_scan_has_scan_macs():
    assert "scan_macs" not in macs(built("timesformer_tiny")).values
    samples = macs(built("videomamba_tiny"))
    scan = json.loads(samples.notes["macs_by_operator"])["model_zoo::selective_scan"]
    assert samples.values["scan_macs"] == [scan]
    assert samples.values["vmamba_scan_flops"][0] > 2.9 * scan


def test_parameters_are_counted_once_in_number_and_bytes():
    subject = built("timesformer_tiny", precision="bf16")
    num_params = sum(p.numel() for p in subject.model.parameters())
    values = macs(subject).values
    assert values["params"] == values["trainable_params"] == [num_params]
    assert values["params_bytes"] == [2 * num_params]


def test_frozen_parameters_are_not_trainable():
    clip = ClipSpec(num_frames=8)
    subject = build(Case(model="evl_base_16", clip=clip, batch_size=1, device="meta"), 1)
    values = macs(subject).values
    assert 0 < values["trainable_params"][0] < values["params"][0]


def test_training_counts_the_backward_pass_too_and_says_so():
    forward = macs(built("timesformer_tiny"))
    training = macs(built("timesformer_tiny", mode="training"))
    by_phase = json.loads(training.notes["macs_by_phase"])
    assert [by_phase["forward"]] == forward.values["macs"]
    assert training.values["macs"] == [by_phase["forward"] + by_phase["backward"]]
    assert 1.8 < by_phase["backward"] / by_phase["forward"] < 2.0
    assert "backward" in training.notes["macs_step"]


def test_fvcore_reports_what_it_counted_and_what_it_did_not():
    samples = fvcore_macs(built("timesformer_tiny"))
    assert [sum(json.loads(samples.notes["fvcore_by_operator"]).values())] == samples.values[
        "fvcore_macs"
    ]
    unsupported = json.loads(samples.notes["fvcore_unsupported"])
    assert unsupported["aten::scaled_dot_product_attention"] == 24


def test_thop_reports_what_it_counted_by_type_of_module():
    samples = thop_macs(built("timesformer_tiny"))
    by_type = json.loads(samples.notes["thop_by_module_type"])
    assert [sum(by_type.values())] == samples.values["thop_macs"]
    assert by_type["Linear"] > by_type["LayerNorm"] > 0


@pytest.mark.parametrize(
    ("probe", "note"), [(fvcore_macs, "fvcore_error"), (thop_macs, "thop_error")]
)
def test_a_counter_that_fails_leaves_its_metric_out_and_says_why(probe, note):
    samples = probe(with_model(Failing(), meta(2, 8)))
    assert not samples.values
    assert samples.notes == {note: "OutOfLuckError: out of luck"}


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_other_counters_see_the_subject_and_change_nothing_of_it(mode):
    subject = built("timesformer_tiny", mode=mode)
    names, was_training = list(subject.model.state_dict()), subject.model.training
    first = (fvcore_macs(subject).values, thop_macs(subject).values)
    assert list(subject.model.state_dict()) == names
    assert subject.model.training == was_training
    assert (fvcore_macs(subject).values, thop_macs(subject).values) == first


def test_importing_the_probes_imports_neither_library():
    code = (
        "import sys; from vbench.measure.probes import PROBES; list(PROBES);"
        "raise SystemExit('fvcore' in sys.modules or 'thop' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
