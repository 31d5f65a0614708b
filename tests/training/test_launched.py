"""A run whose processes are started by torchrun or by Accelerate, one of which may be lost."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_distributed import SMALL, run_of, two_processes

from kdzoo.bench.progress import read_progress
from kdzoo.compose import compose
from kdzoo.training.checkpoint import load_checkpoint
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
SETTINGS = (*SMALL, "method=independent", "dataset.train_subset=96", "training.eval_every=4")
# Without these, torchrun takes 15 s to believe that a machine is gone, and 30 s for others to come.
QUICK = "last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=3"

# Else torchrun tells a machine that comes later no address, and it waits in vain.
ONE_STORE_A_ROUND = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def launch(launcher: str, *arguments: str, said: Path) -> subprocess.Popen:
    with said.open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", launcher, *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                **ONE_STORE_A_ROUND,
            },
            cwd=said.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.slow
def test_accelerate_comes_to_the_bytes_of_two_processes_that_are_forked(tmp_path):
    settings = (*SETTINGS, "batch_size=24", "epochs=2")
    two_processes(lambda: train(compose([*settings, f"out={tmp_path / 'forked'}"])), tmp_path)
    started = launch(
        *("accelerate.commands.launch", "--multi_gpu", "--num_processes=2"),
        *(f"--main_process_port={free_port()}", "-m", "kdzoo", "run"),
        *(*settings, f"out={tmp_path / 'launched'}"),
        said=tmp_path / "said",
    )
    assert started.wait(120) == 0, (tmp_path / "said").read_text()
    assert "2 processes share each batch" in (tmp_path / "said").read_text()
    forked, launched = run_of(tmp_path / "forked"), run_of(tmp_path / "launched")
    for name in ("student.safetensors", "student.json"):
        assert (launched.path / name).read_bytes() == (forked.path / name).read_bytes()


@pytest.mark.slow
def test_an_elastic_job_goes_on_with_a_machine_that_comes_and_without_one_that_is_lost(tmp_path):
    """Each agent of torchrun's stands for a machine; the first one holds their meeting place."""
    port = free_port()

    def machine(number: int) -> subprocess.Popen:
        meeting = f"{QUICK},is_host={int(number == 1)}"
        return launch(
            *("torch.distributed.run", "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3"),
            *("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", f"--rdzv-conf={meeting}"),
            *("-m", "kdzoo", "run", *SETTINGS, "batch_size=16", "epochs=100000", "out=runs"),
            said=tmp_path / f"said-{number}",
        )

    def said() -> list[str]:
        return (tmp_path / "said-1").read_text().splitlines()

    def goes_on(times: int) -> None:
        _until(lambda: sum("Going on " in line for line in said()) == times)
        before = _epochs(tmp_path)
        _until(lambda: _epochs(tmp_path) > before)

    first = machine(1)
    machines = [first]
    try:
        _until(lambda: _epochs(tmp_path) > 0)
        assert not any("share each batch" in line for line in said())
        machines.append(machine(2))
        goes_on(1)
        assert any(line.startswith("2 processes share each batch of 16") for line in said())
        _lose(machines[1])
        goes_on(2)
        first.send_signal(signal.SIGTERM)
        first.wait(60)
    finally:
        for agent in machines:
            _lose(agent)
    assert sum("share each batch" in line for line in said()) == 1
    assert sum("Another process of this run is gone" in line for line in said()) == 1
    (checkpoint,) = tmp_path.rglob("checkpoint.pt")
    epochs = RunFolder(checkpoint.parent).read_epochs()
    assert [record.epoch for record in epochs] == list(range(1, len(epochs) + 1))
    assert load_checkpoint(checkpoint)["step"] >= 6 * len(epochs)


def _epochs(tmp_path: Path) -> int:
    """Of the run so far."""
    found = list((tmp_path / "runs").rglob("config.yaml"))
    return read_progress(RunFolder(found[0].parent)).epochs if found else 0


def _lose(agent: subprocess.Popen) -> None:
    """Kill an agent and what it has started, as where a machine is gone."""
    if agent.poll() is None:
        agent.send_signal(signal.SIGSTOP)  # it starts nothing any more
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        for process in (*map(int, children), agent.pid):
            os.kill(process, signal.SIGKILL)
    agent.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
