"""The processors' energy, from counter files that the test writes."""

import time

import pytest

from tests.measure.fakes import FakeMeter
from vbench.measure import rapl
from vbench.measure.probes.cpu_energy import measure

RANGE_UJ = 1_000_000


def counter(root, name, title, energy_uj):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{title}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    return folder / "energy_uj"


def test_packages_are_summed_and_their_parts_and_the_whole_system_are_not(tmp_path):
    first = counter(tmp_path, "intel-rapl:0", "package-0", 100)
    second = counter(tmp_path, "intel-rapl:1", "package-1", 200)
    part = counter(tmp_path, "intel-rapl:0:0", "core", 300)
    whole = counter(tmp_path, "intel-rapl:2", "psys", 400)
    meter = rapl.opened(tmp_path)
    assert meter is not None
    for path, energy_uj in ((first, 1100), (second, 2200), (part, 5000), (whole, 90_000)):
        path.write_text(f"{energy_uj}\n")
    assert meter.energy_j() == pytest.approx(3000e-6)


def test_a_counter_that_begins_again_loses_nothing(tmp_path):
    path = counter(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 10)
    meter = rapl.opened(tmp_path)
    assert meter is not None
    path.write_text("30\n")
    assert meter.energy_j() == pytest.approx(40e-6)
    path.write_text("130\n")
    assert meter.energy_j() == pytest.approx(140e-6)


def test_where_there_is_no_counter_or_none_to_be_read_there_is_no_meter(tmp_path):
    assert rapl.opened(tmp_path / "nothing") is None
    path = counter(tmp_path, "intel-rapl:0", "package-0", 5)
    path.unlink()
    path.mkdir()  # reading it fails, as it does for who may not
    assert rapl.opened(tmp_path) is None


def test_a_step_has_the_energy_of_a_window_over_its_steps():
    taken = measure(lambda: time.sleep(0.02), FakeMeter(time.monotonic, power_w=50.0))
    assert len(taken.values["cpu_energy_j"]) == 3
    assert taken.values["cpu_energy_j"][0] == pytest.approx(50 * 0.02, rel=0.3)
    assert taken.notes["energy source"] == "RAPL"


def test_a_long_step_is_one_window():
    assert (
        len(measure(lambda: time.sleep(3.1), FakeMeter(time.monotonic)).values["cpu_energy_j"]) == 1
    )
