from tests.report.fabricate import GPU, environment, figure1_records, record
from vbench.report.frame import to_frame
from vbench.report.sentences import headline

GIB = 2**30


def sweep(**changes):
    """Model a: memory 1 GiB a frame, 0.1 s a frame; b: squares of it, cheaper below 4 frames."""
    return [
        record(
            model, t, {"peak_allocated_bytes": GIB * cost(t), "latency_s": cost(t) / 10}, **changes
        )
        for model, cost in (("linear", lambda t: t), ("square", lambda t: t * t / 12))
        for t in (8, 16, 32)
    ]


def test_three_sentences_tell_memory_speed_and_growth():
    memory, speed, growth = headline(to_frame(sweep()))
    assert memory.startswith(
        "At 32 frames square needs 2.7 times the memory of linear: 85.3 against 32.0 GiB"
    )
    assert f"(measured, {GPU}, inference, fp32, 224 px, batch 1)" in memory
    assert speed.startswith("At 32 frames linear processes 2.7 times the clips a second of square")
    assert "below about 12 frames square is the faster" in speed
    assert (
        growth
        == "From 8 to 32 frames memory grows as T^2.00 for square and T^1.00 for linear (measured)."
    )


def test_figure1_says_what_a_fused_kernel_does_to_the_claim():
    first, second, third = headline(to_frame(figure1_records()))
    assert "joint, materialised attention needs 40 times the memory of VideoMamba-Ti" in first
    assert "with a fused kernel 0.45 times (estimated," in first
    assert "holds for joint, materialised attention alone" in second
    assert "15 times as long" in third
    assert "published: 6 times" in third


def test_one_curve_alone_is_stated_and_not_compared():
    sentences = headline(
        to_frame([record(metrics={"latency_s": 0.5, "peak_allocated_bytes": GIB})])
    )
    assert sentences[0].startswith("At 8 frames tiny needs 1.00 GiB of memory")
    assert sentences[1].startswith("At 8 frames tiny processes 2.00 clips a second")


def test_equal_curves_are_called_equal():
    records = [record(m, metrics={"peak_allocated_bytes": GIB}) for m in ("a", "b")]
    assert "about the same memory" in headline(to_frame(records))[0]


def test_only_failures_are_counted():
    records = [record(num_frames=t, status="oom") for t in (8, 16)] + [
        record(status="timeout", num_frames=32)
    ]
    assert headline(to_frame(records)) == [
        "None of 3 points finished: 2 out of memory, 1 timed out."
    ]


def test_a_measured_curve_is_preferred_to_an_estimated_one():
    estimated = sweep(device="meta", gpu="A100", environment=environment("no device (estimated)"))
    assert all("measured" in sentence for sentence in headline(to_frame([*estimated, *sweep()])))


def test_an_empty_frame_has_nothing_to_say():
    assert headline(to_frame([])) == ["There are no records."]
