from dataclasses import dataclass

import msgspec

from tests.records import a_case
from vbench.core import plan
from vbench.core.types import BenchSpec, ClipSpec


@dataclass(frozen=True)
class Facts:
    clip: tuple[int, int, int] = (8, 224, 224)
    has_attention: bool = True


FACTS = {"attends": Facts(), "scans": Facts(clip=(16, 112, 160), has_attention=False)}


def expand(**fields):
    spec = BenchSpec(name="x", models=("attends", "scans"), **fields)
    return plan.expand(spec, FACTS.__getitem__, device="cpu")


def test_what_is_not_asked_for_is_each_models_own():
    clips = [case.clip for case in expand()]
    assert clips == [
        ClipSpec(num_frames=8),
        ClipSpec(num_frames=16, height_px=112, width_px=160),
    ]


def test_a_model_without_attention_is_measured_once_not_once_a_backend():
    cases = expand(attentions=("eager", "sdpa"))
    assert [(c.model, c.attention) for c in cases] == [
        ("attends", "eager"),
        ("attends", "sdpa"),
        ("scans", "none"),
    ]


def test_every_axis_is_crossed_and_every_case_has_its_own_id():
    cases = expand(
        num_frames=(4, 8),
        resolutions_px=(32, (32, 64)),
        batch_sizes=(1, 2),
        precisions=("fp32", "bf16"),
        modes=("inference", "training"),
        repeats=3,
    )
    assert len(cases) == 2 * 2 * 2 * 2 * 2 * 2 * 3
    assert len({case.case_id for case in cases}) == len(cases)


def test_a_case_id_is_the_same_on_every_machine():
    assert a_case().case_id == "4e62567c29a1"


def test_more_frames_of_the_same_dominate_and_another_setting_does_not():
    small, large = a_case(num_frames=8), a_case(num_frames=16)
    assert plan.dominates(large, small)
    assert not plan.dominates(small, large)
    assert not plan.dominates(msgspec.structs.replace(large, attention="eager"), small)
    assert not plan.dominates(msgspec.structs.replace(large, batch_size="auto"), small)
