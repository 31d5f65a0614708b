"""A run on two processes, which share each batch."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path):
    settings = ("method=mbde", "backbone=resnet8", "epochs=2", "device=cpu", "precision=fp32")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "kdzoo", "run", *settings, f"out={tmp_path}"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2/2") == 1  # one process speaks
    (result,) = tmp_path.rglob("result.json")
    assert result.with_name("student.safetensors").is_file()
