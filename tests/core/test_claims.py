import pytest

import model_zoo
from vbench.core.claims import claim_names, load_claims, run_name, spec_of
from vbench.core.errors import UsageError
from vbench.measure.claims import missing_models

CLAIMS = load_claims([])


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_names_models_that_there_are(claim):
    assert missing_models(claim) == []
    named = {model for models in claim.groups.values() for model in models}
    swept = {m for sweep in claim.sweeps for m in spec_of(claim, sweep, device="meta").models}
    assert named <= swept
    assert {one.model for one in claim.published} <= swept


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_sweep_of_a_claim_is_a_spec_with_and_without_a_gpu(claim):
    for sweep in claim.sweeps:
        assert spec_of(claim, sweep, device="meta").device == "meta"
        on_gpu = spec_of(claim, sweep, device="cuda:0")
        assert on_gpu.device == ("meta" if sweep.on_meta else "cuda:0")
        assert on_gpu.gpu is None or sweep.on_meta


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_names_of_sweeps_and_parts_are_told_apart(claim):
    sweeps = [sweep.name for sweep in claim.sweeps]
    parts = [part.name for part in claim.parts]
    assert len(set(sweeps)) == len(sweeps)
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize(
    "printed",
    [one for claim in CLAIMS for one in claim.published if ":" not in one.model],
    ids=lambda one: f"{one.model}-{one.num_frames}-{one.pretraining}",
)
def test_published_accuracies_are_those_of_the_zoo_s_table(printed):
    rows = [
        row
        for row in model_zoo.published(printed.model)
        if row.metric == "top1_percent"
        and row.dataset == "kinetics400"
        and row.num_frames == printed.num_frames
        and row.source.split("@")[0] == printed.source.split(",")[0].split("@")[0]
        and row.num_views == printed.num_views
    ]
    assert printed.top1_percent in [row.value for row in rows]


def test_measured_points_lie_apart_from_estimated_ones():
    claim = next(one for one in CLAIMS if one.name == "videomamba_figure1")
    sweep = claim.sweeps[0]
    assert run_name(sweep, device="meta") != run_name(sweep, device="cuda:0")
    assert spec_of(claim, sweep, device="cuda:0").batch_sizes == (8,)


def test_an_unknown_claim_is_told_with_the_nearest():
    with pytest.raises(UsageError, match="unknown claim: grwth") as caught:
        load_claims(["grwth"])
    assert caught.value.hint == "did you mean `growth`?"


def test_claims_come_in_their_own_order_whatever_was_asked():
    assert [claim.order for claim in CLAIMS] == sorted(claim.order for claim in CLAIMS)
    assert {claim.name for claim in CLAIMS} == set(claim_names())
