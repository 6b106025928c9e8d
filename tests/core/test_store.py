"""Nothing that was stored is ever lost."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import msgspec
import pytest

from tests.records import a_record
from vbench.core import store
from vbench.core.errors import StoreError, UsageError


def test_what_is_appended_is_read_back_equal(tmp_path):
    records = [a_record(num_frames=n) for n in (8, 16)]
    with store.RunWriter(tmp_path / "run") as writer:
        for record in records:
            writer.append(record)
    assert store.read(tmp_path / "run") == (records, [])


def test_a_half_written_line_is_kept_reported_and_followed_by_whole_ones(tmp_path):
    first, second = a_record(num_frames=8), a_record(num_frames=16)
    with store.RunWriter(tmp_path) as writer:
        writer.append(first)
    path = tmp_path / store.RECORDS_FILE
    torn = msgspec.json.encode(second)[:40]
    path.write_bytes(path.read_bytes() + torn)
    assert store.read(tmp_path) == ([first], [2])
    with store.RunWriter(tmp_path) as writer:
        writer.append(second)
    assert store.read(tmp_path) == ([first, second], [2])
    assert torn in path.read_bytes()


def test_a_second_writer_is_refused_while_the_first_is_open(tmp_path):
    with store.RunWriter(tmp_path), pytest.raises(UsageError, match="another sweep is writing"):
        store.RunWriter(tmp_path)
    store.RunWriter(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot write results"):
        store.RunWriter(tmp_path / "file" / "run")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_full_disk_is_a_store_error_and_keeps_what_was_there(tmp_path):
    with store.RunWriter(tmp_path) as writer:
        writer.append(a_record())
        full = os.open("/dev/full", os.O_RDWR)
        kept, writer._records = writer._records, full
        with pytest.raises(StoreError, match="No space left"):
            writer.append(a_record(num_frames=16))
        os.close(full)
        writer._records = kept
    assert len(store.read(tmp_path).records) == 1


def test_another_schema_version_names_the_line(tmp_path):
    (tmp_path / store.RECORDS_FILE).write_text('{"schema_version": 99}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"records.jsonl:1 has record schema 99"):
        store.read(tmp_path)


def test_an_empty_folder_is_an_error_with_the_next_step(tmp_path):
    with pytest.raises(UsageError, match="no records") as failure:
        store.read(tmp_path)
    assert "vbench sweep" in (failure.value.hint or "")


def test_the_latest_record_of_a_case_replaces_an_earlier_failure():
    failed = a_record(status="error")
    again = a_record(status="ok")
    assert store.latest([failed, again]) == {again.case_id: again}


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tests.records import a_record
    from vbench.core import store
    with store.RunWriter(Path(sys.argv[1])) as writer:
        for number in range(int(sys.argv[2]), 10**9):
            # long enough that a write is sometimes cut in the middle
            writer.append(a_record(num_frames=number + 1, error="x" * (number % 7) * 20_000))
            print(number, flush=True)
    """
)


@pytest.mark.slow
def test_fifty_kills_at_random_moments_lose_no_finished_record(tmp_path):
    moments = random.Random(0)
    finished = -1
    for _ in range(50):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(finished + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            finished = int(writer.stdout.readline())
            time.sleep(moments.uniform(0.0, 0.05))
            writer.send_signal(signal.SIGKILL)
            finished = max([finished, *map(int, writer.stdout.read().split())])
        kept = {record.case.clip.num_frames - 1 for record in store.read(tmp_path).records}
        assert kept >= set(range(finished + 1))
