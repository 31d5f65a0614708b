"""Peak memory: of a training, and not of what the process did before."""

import mmap

import pytest
import torch
from hand_made import read_records

from kdzoo.compose import compose
from kdzoo.testing import BACKBONE
from kdzoo.training.display import Silent
from kdzoo.training.peak_memory import peak_memory, reset_peak_memory
from kdzoo.training.run import train

CPU = torch.device("cpu")
BIG = 200 * 2**20


def allocate(size: int) -> None:
    """Use so many bytes for a moment: pages from the system, not what malloc has free already."""
    with mmap.mmap(-1, size) as memory:
        memory[:: mmap.PAGESIZE] = bytes(-(-size // mmap.PAGESIZE))


def test_the_peak_counts_from_the_reset_on():
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    allocate(before + BIG)  # more than ever before, should the mark not have been reset
    used = peak_memory(CPU)
    assert used - before >= 0.9 * BIG
    reset_peak_memory(CPU)
    if peak_memory(CPU) == used:
        pytest.skip("this system cannot reset the mark")
    assert used - peak_memory(CPU) >= 0.9 * BIG


@pytest.mark.cuda
def test_on_cuda_it_is_that_of_the_tensors():
    device = torch.device("cuda")
    reset_peak_memory(device)
    before = peak_memory(device)
    torch.empty(BIG, dtype=torch.uint8, device=device)
    assert peak_memory(device) == before + BIG


def test_a_result_has_the_peak_of_all_epochs_whichever_process_trained_them(tmp_path):
    class Greedy(Silent):
        def epoch(self, record, epochs):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

        def step(self, tally):
            allocate(BIG)

    settings = (f"backbone={BACKBONE}", "epochs=3", "training.steps=6", "batch_size=512")
    config = compose([*settings, f"out={tmp_path}"])
    with pytest.raises(KeyboardInterrupt):
        train(config, Greedy())
    folder = train(config)
    peaks = [record["peak_memory"] for record in read_records(folder)]
    assert folder.read_result()["peak_memory"] == max(peaks)
    assert len(peaks) == 3
    if peaks[2] < peaks[1]:  # the mark can be reset
        assert peaks[1] - peaks[2] >= 0.5 * BIG
