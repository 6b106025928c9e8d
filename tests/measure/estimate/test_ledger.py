import torch
from torch import Tensor

from vbench.measure.estimate.ledger import Ledger

KIB = 1024


def meta(num_bytes: int) -> Tensor:
    return torch.empty(num_bytes, dtype=torch.uint8, device="meta")


def test_live_bytes_follow_the_lifetime_of_storages():
    ledger = Ledger()
    a, b = meta(KIB), meta(2 * KIB)
    ledger.add(a)
    ledger.add(b)
    assert ledger.live_bytes == 3 * KIB
    del a
    assert ledger.live_bytes == 2 * KIB
    del b
    assert (ledger.live_bytes, ledger.peak_bytes) == (0, 3 * KIB)


def test_a_view_holds_the_storage_and_adds_nothing():
    ledger, x = Ledger(), meta(KIB)
    assert ledger.add(x)
    view = x[10:20]
    assert not ledger.add(view)
    del x
    assert ledger.live_bytes == KIB
    del view
    assert ledger.live_bytes == 0


def test_what_autograd_keeps_stays_alive():
    ledger = Ledger()
    x = torch.empty(256, device="meta", requires_grad=True)
    y = x.exp()
    ledger.add(y)
    z = y.sum()
    del y
    assert ledger.live_bytes == KIB
    z.backward()
    assert ledger.live_bytes == 0


def test_sizes_are_rounded_up_to_the_unit_of_the_allocator():
    ledger = Ledger()
    tensors = [meta(1), meta(512), meta(513), meta(0)]
    for tensor in tensors:
        ledger.add(tensor)
    assert ledger.live_bytes == 512 + 512 + 1024


def test_tensors_on_other_devices_are_not_counted():
    ledger = Ledger()
    assert not ledger.add(torch.empty(1000))
    assert ledger.live_bytes == 0


def test_the_peak_is_kept_by_what_it_was_for():
    ledger, weights = Ledger(), meta(4 * KIB)
    ledger.mark([weights], "weights")
    activations = meta(KIB)
    ledger.add(activations)
    with ledger.allocating("state"):
        state = meta(2 * KIB)
        ledger.add(state)
    del activations
    assert ledger.peak_bytes == 7 * KIB
    assert ledger.at_peak == {"weights": 4 * KIB, "activations": KIB, "state": 2 * KIB}
    ledger.begin()
    assert ledger.peak_bytes == 6 * KIB


def test_activations_have_a_peak_of_their_own():
    ledger = Ledger()
    large = meta(4 * KIB)
    ledger.add(large)
    del large
    weights, small = meta(8 * KIB), meta(KIB)
    ledger.mark([weights], "weights")
    ledger.add(small)
    assert ledger.peak_bytes == 9 * KIB
    assert ledger.activation_peak_bytes == 4 * KIB


def test_marking_the_rest_spares_what_is_marked_already():
    ledger, weights, state = Ledger(), meta(KIB), meta(2 * KIB)
    ledger.mark([weights], "weights")
    ledger.add(state)
    ledger.mark_rest("state")
    ledger.begin()
    assert ledger.at_peak["weights"] == KIB
    assert ledger.at_peak["state"] == 2 * KIB
    assert ledger.activation_peak_bytes == 0
