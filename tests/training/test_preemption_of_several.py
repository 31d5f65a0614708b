"""A run on two processes that is preempted: both save at the same step, and both end."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from test_distributed import run_of, two_processes
from test_preemption import DROPOUT, SMALL, SignalAt, outcome

from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.training.agreement import EVERY, Agreement, Wish
from kdzoo.training.preemption import Stopped
from kdzoo.training.run import train

SETTINGS = (*SMALL, *DROPOUT, "epochs=4")  # 6 steps an epoch; each process draws for itself


def train_until(after: dict[int, int], number: int, out: Path, said: Path) -> None:
    """In each of two processes; some get a signal after a step."""
    rank = torch.distributed.get_rank()
    display = SignalAt(*[(step, number) for step in [after.get(rank)] if step])
    try:
        train(compose([*SETTINGS, f"out={out}"]), display)
    except Stopped as stop:
        (said / str(rank)).write_text(f"{stop.exit_code} {stop.step}")
        os._exit(0)  # what is left of the group cannot be taken down in good order


def preempted(tmp_path: Path, after: dict[int, int], number: int) -> list[str]:
    """The exit code of each process, and the step after which it saved."""
    said = tmp_path / f"said-{len(list(tmp_path.glob('said-*')))}"
    said.mkdir()
    two_processes(partial(train_until, after, number, tmp_path / "runs", said), said)
    return [path.read_text() for path in sorted(said.iterdir()) if path.name in "01"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple:
    """What the run comes to on two processes when nobody disturbs it."""
    out = tmp_path_factory.mktemp("whole")
    two_processes(partial(train_until, {}, 0, out / "runs", out), out)
    return outcome(run_of(out))


@pytest.mark.parametrize("after", [{0: 3, 1: 3}, {0: 1}, {1: 7}, {0: 9, 1: 6}])
def test_a_signal_to_any_process_has_all_save_at_one_step(after, whole, tmp_path):
    first, second = preempted(tmp_path, after, signal.SIGUSR1)
    assert first == second
    code, step = map(int, first.split())
    assert code == 138
    earliest = min(after.values())
    assert earliest <= step <= earliest + 2 * EVERY
    assert preempted(tmp_path, {}, 0) == []  # it comes to its end
    assert outcome(run_of(tmp_path)) == whole


def test_a_run_that_is_preempted_again_and_again_ends_with_the_same_bytes(whole, tmp_path):
    for step in (1, 8, 15):
        first, second = preempted(tmp_path, {0: step, 1: step}, signal.SIGTERM)
        assert first == second
        assert first.startswith("143")
    preempted(tmp_path, {}, 0)
    assert outcome(run_of(tmp_path)) == whole


def test_another_number_of_processes_goes_on_with_the_same_samples(tmp_path):
    first, _ = preempted(tmp_path, {0: 2, 1: 2}, signal.SIGTERM)
    display = SignalAt()
    folder = train(compose([*SETTINGS, f"out={tmp_path / 'runs'}"]), display)
    step = first.split()[1]
    assert f"Going on in epoch 1, after step {step}, in {folder.path}." in display.lines
    _, records, figures = outcome(folder)
    assert [record["step"] for record in records] == [6, 12, 18, 24]
    right = [record["train"]["student_top1"] / 100 * 96 for record in records]
    assert right == pytest.approx([round(count) for count in right], abs=1e-3)  # of 96, each once
    assert figures["steps"] == 24


def _wishes(meeting: Path) -> None:
    rank = torch.distributed.get_rank()
    agreement = Agreement()
    known = []
    for step in range(1, 5 * EVERY):
        wish = Wish(stop=15 if rank and step >= EVERY + 1 else 0)
        known.append(agreement.after_step(step, lambda wish=wish: wish))
    known.append(agreement.after_step(0, lambda: Wish(save=1 - rank), at_once=True))
    (meeting / f"known-{rank}").write_text(json.dumps(known))
    assert agreement.of_first(lambda: f"read by {rank}") == "read by 0"
    with pytest.raises(UserError, match="damaged"):  # also in those who read nothing
        agreement.of_first(_fails)


def _fails() -> None:
    raise UserError("It is damaged.")


def test_wishes_are_known_to_all_after_the_same_step(tmp_path):
    two_processes(partial(_wishes, tmp_path), tmp_path)
    first, second = ((tmp_path / f"known-{rank}").read_text() for rank in (0, 1))
    assert first == second
    *steps, end = json.loads(first)
    assert end == [15, 1]
    heard = [step for step, (stop, _) in enumerate(steps, 1) if stop]
    assert heard == [3 * EVERY, 4 * EVERY]  # sent after 2 * EVERY
