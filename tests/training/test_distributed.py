"""A run on two processes, which share each batch."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from hand_made import read_records

from benchmarks.agreement import as_rank, on_processes
from kdzoo.cli import app, streams
from kdzoo.compose import compose
from kdzoo.console import make_console
from kdzoo.methods.base import StepResult
from kdzoo.testing import BACKBONE
from kdzoo.training.calibration import CalibrationError
from kdzoo.training.device import build_accelerator, join_processes
from kdzoo.training.display import Silent
from kdzoo.training.evaluate_student import evaluate_student
from kdzoo.training.metrics import Accuracy, Diversity
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.running_statistics import agree
from kdzoo.training.tally import DivergedError, Tally
from kdzoo.training.trainer import Trainer

SMALL = (f"backbone={BACKBONE}", "device=cpu", "precision=fp32", "training.threads=1")


def two_processes(work, tmp_path: Path) -> None:
    """Call ``work()`` in two processes of one distributed run."""
    on_processes(2, lambda rank: work(), tmp_path)


def run_of(path: Path) -> RunFolder:
    (result,) = path.rglob("result.json")
    return RunFolder(result.parent)


@pytest.mark.parametrize(
    ("count", "method"), [(2, "independent"), (2, "pcl"), (2, "mbde"), (3, "mbde"), (3, "ps_kd")]
)
def test_the_result_is_that_of_the_saved_student(count, method, tmp_path):
    settings = (
        *SMALL,
        f"method={method}",
        "epochs=2",
        "training.eval_every=1",
        "dataset.train_subset=200",
        "batch_size=50",  # and 3 batches of test samples, the last a smaller one
        f"out={tmp_path}",
    )
    on_processes(count, lambda rank: train(compose(settings)), tmp_path)
    folder = run_of(tmp_path)
    told, measured = (
        folder.read_result()["last"]["student"],
        evaluate_student(folder.path, trust=True),
    )
    assert {name: told[name] for name in ("top1", "top5", "nll", "ece")} == {
        name: measured[name] for name in ("top1", "top5", "nll", "ece")
    }


def test_figures_are_the_same_to_the_last_digit_however_samples_are_shared_out(tmp_path):
    torch.manual_seed(0)
    sure, labels = torch.rand(359, 1) * 40, torch.randint(10, (359,))
    logits = sure * torch.randn(3, 359, 10)

    def judge(rows: slice) -> list:
        cpu = torch.device("cpu")
        accuracy, calibration = Accuracy(3, cpu), CalibrationError(3, cpu)
        diversity = Diversity(3, cpu)
        for z, y in zip(logits[:, rows].split(50, dim=1), labels[rows].split(50), strict=True):
            accuracy.update(z, y)
            calibration.update(z, y)
            diversity.update(z)
        return [accuracy.compute(), calibration.compute(), diversity.compute()]

    def work(rank: int) -> None:
        build_accelerator(join_processes(compose(SMALL)), "fp32")
        first, last = (359 * at // 3 for at in (rank, rank + 1))
        (tmp_path / str(rank)).write_text(json.dumps(judge(slice(first, last))))

    on_processes(3, work, tmp_path)
    join_processes(compose(SMALL))
    alone = judge(slice(None))
    assert [json.loads((tmp_path / str(rank)).read_text()) for rank in range(3)] == 3 * [alone]


DATA = ("dataset.train_subset=64", "batch_size=16", "method=independent", "epochs=3")


def command_of_two(tmp_path: Path, monkeypatch, agent: bool) -> tuple[list[str], list[str]]:
    """What ``kdzoo run`` prints on stderr, and exits with, in each of two processes.

    Args:
        tmp_path: for the run and what is printed.
        monkeypatch: of pytest.
        agent: whether a launcher keeps a store for the processes, as torchrun does.
    """
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr("sys.argv", ["kdzoo", "run", *SMALL, *DATA, f"out={tmp_path / 'runs'}"])

    def work(rank: int) -> None:
        if agent:
            os.environ.update(TORCHELASTIC_USE_AGENT_STORE="True", MASTER_PORT=str(store.port))
        with (tmp_path / f"said-{rank}").open("w") as said:
            streams.err = make_console(file=said, width=1000)
            try:
                app.main()
            except SystemExit as end:
                (tmp_path / f"code-{rank}").write_text(str(end.code))
        os._exit(0)  # what is left of the group cannot be taken down in good order

    start = partial(as_rank, work, tmp_path / "meeting", 2)
    both = mp.start_processes(start, nprocs=2, start_method="fork", join=False)
    for process in both.processes:
        process.join(120)
        assert process.exitcode is not None, "it waits for the other for ever"
    codes = [tmp_path / f"code-{rank}" for rank in (0, 1)]
    return (
        [(tmp_path / f"said-{rank}").read_text() for rank in (0, 1)],
        [code.read_text() if code.exists() else "killed" for code in codes],
    )


def in_second_epoch(monkeypatch, failing: int, fail) -> None:
    """Let one process ``fail()`` there."""
    train_epoch = Trainer.train_epoch

    def fails(self, on_step):
        two = self.epoch == 1 and torch.distributed.is_initialized()
        if two and torch.distributed.get_rank() == failing:
            fail()
        return train_epoch(self, on_step)

    monkeypatch.setattr(Trainer, "train_epoch", fails)


def goes_on(tmp_path: Path) -> bool:
    """Whether the run in the folder goes on after its first epoch, and ends well."""
    lines: list[str] = []
    display = Silent()
    display.say = lines.append
    folder = train(compose([*SMALL, *DATA, f"out={tmp_path / 'runs'}"]), display)
    return folder.is_finished and any("Going on after epoch 1" in line for line in lines)


@pytest.mark.parametrize("agent", [True, False])
@pytest.mark.parametrize("failing", [0, 1])
def test_what_one_process_meets_is_said_once_and_ends_both(failing, agent, tmp_path, monkeypatch):
    def fail():
        raise DivergedError("It went wrong here alone.")

    in_second_epoch(monkeypatch, failing, fail)
    said, codes = command_of_two(tmp_path, monkeypatch, agent)
    assert said[failing] == "error: It went wrong here alone.\n"
    assert said[1 - failing] == ""
    assert codes == ["1", "1"]
    assert goes_on(tmp_path)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_other_with_one_message(killed, tmp_path, monkeypatch):
    in_second_epoch(monkeypatch, killed, lambda: os.kill(os.getpid(), signal.SIGKILL))
    said, codes = command_of_two(tmp_path, monkeypatch, agent=False)
    assert codes[killed] == "killed"
    assert codes[1 - killed] == "1"
    assert said[1 - killed].startswith("error: Another process of this run is gone")
    assert said[1 - killed].count("\n") == 1
    assert goes_on(tmp_path)


def test_buffers_and_terms_are_means_over_the_processes(tmp_path):
    def work() -> None:
        rank = torch.distributed.get_rank()
        build_accelerator(join_processes(compose(SMALL)), "fp32")
        layer = torch.nn.BatchNorm1d(2)
        layer.running_mean.fill_(float(rank))
        agree(layer)
        tally = Tally(torch.device("cpu"))
        predictions = {"student": torch.eye(3)}
        for term in (1.0, 2.0):
            result = StepResult({"ce": torch.tensor(term + 4 * rank)}, predictions)
            tally.update(result, torch.tensor([0, 1, 2 - rank]), step=0)
        tally.add_up()
        means = tally.compute()
        assert layer.running_mean.tolist() == [0.5, 0.5]
        assert means["ce"] == means["loss"] == 3.5  # of 1, 2 and 5, 6
        assert means["student_top1"] == pytest.approx(100 * 5 / 6)

    two_processes(work, tmp_path)


def test_a_term_that_diverges_on_one_process_stops_both(tmp_path):
    def work() -> None:
        rank = torch.distributed.get_rank()
        build_accelerator(join_processes(compose(SMALL)), "fp32")
        tally = Tally(torch.device("cpu"))
        term = torch.tensor(float("nan") if rank else 1.0)
        tally.update(StepResult({"kd": term}, {"student": torch.eye(3)}), torch.arange(3), 7)
        tally.add_up()
        with pytest.raises(DivergedError, match=r"'kd'.*step 7"):
            tally.compute()

    two_processes(work, tmp_path)


def test_a_teacher_is_trained_first_and_one_sample_is_enough_to_validate_on(tmp_path):
    data = ("batch_size=10", "dataset.train_subset=20", "dataset.val_fraction=0.0007")
    settings = (*SMALL, *data, "method=kd", "epochs=1", f"out={tmp_path}")
    two_processes(lambda: train(compose(settings)), tmp_path)
    results = [RunFolder(path.parent) for path in tmp_path.rglob("result.json")]
    assert {folder.read_result()["method"] for folder in results} == {"kd", "independent"}
    assert {folder.read_result()["val_size"] for folder in results} == {1}
    for folder in results:
        (record,) = read_records(folder)
        assert record["eval"]["split"] == "val"
        assert record["eval"]["student"]["top1"] in (0, 100)


def test_a_tracker_is_told_by_one_process(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = ("dataset.train_subset=64", "batch_size=16", "method=independent", "epochs=2")
    often = ("training.tracker=tensorboard", "training.eval_every=1")
    settings = (*SMALL, *data, *often, f"out={tmp_path}")
    two_processes(lambda: train(compose(settings)), tmp_path)
    folder = run_of(tmp_path)
    (file,) = (folder.path / "tensorboard").glob("events.out*")
    events = EventAccumulator(str(file))
    events.Reload()
    losses = [record["train"]["loss"] for record in read_records(folder)]
    seen = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert seen == [(1, pytest.approx(losses[0])), (2, pytest.approx(losses[1]))]
    assert [event.step for event in events.Scalars("test/student/top1")] == [1, 2]
