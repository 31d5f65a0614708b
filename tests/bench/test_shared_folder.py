"""Two benches, two processes, two folders, and one place where their runs are."""

import pytest
from forked import start

from kdzoo.bench.matrix import read_matrix

SPEC = """
methods: [independent]
backbones: [resnet8]
datasets: [{dataset: digits, dataset.train_subset: 128}]
seeds: [0, 1]
run: {epochs: 2, device: cpu, training.threads: 1}
out: shared
jobs: 1
"""


@pytest.mark.slow
def test_each_cell_is_run_once_and_both_end_with_the_same_table(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    benches = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "shared").symlink_to(place)
        (folder / "spec.yaml").write_text(SPEC)
        benches.append(start("bench", "spec.yaml", said=folder / "said", folder=folder))
    for bench in benches:
        bench.join(280)
    said = [(tmp_path / name / "said").read_text() for name in ("here", "there")]
    assert [bench.exitcode for bench in benches] == [0, 0], said
    assert "2 runs; none failed." in said[0]
    assert "2 runs; none failed." in said[1]
    assert len({_table(text) for text in said}) == 1
    runs = read_matrix(tmp_path / "here" / "spec.yaml", [f"out={place}"]).runs
    assert len(runs) == 2
    for run in runs:
        log = run.folder.log.read_text()
        assert log.count("epoch 1/2") == 1, log
        assert log.count("epoch 2/2") == 1, log
    started = [line for text in said for line in text.splitlines() if line.startswith("start ")]
    assert len(started) == 2
    assert len(set(started)) == 2


def _table(text):
    """What is printed after the last run has ended, but for the command at its end."""
    lines = text.splitlines()
    ended = max(i for i, line in enumerate(lines) if line.startswith(("done ", "start ")))
    return "\n".join(line for line in lines[ended + 1 :] if not line.startswith("kdzoo report"))
