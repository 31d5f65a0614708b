"""Signals that end a run: it saves within its epoch, and goes on to the same bytes."""

import os
import signal
import threading
from pathlib import Path

import pytest
from hand_made import folder_of, read_records

import kdzoo as package
from kdzoo.compose import compose
from kdzoo.testing import BACKBONE
from kdzoo.training.checkpoint import load_checkpoint
from kdzoo.training.display import Silent
from kdzoo.training.preemption import SIGNALS, Stopped, StopSignals
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

SMALL = (
    "method=mbde",
    f"backbone={BACKBONE}",
    "device=cpu",
    "precision=fp32",
    "training.threads=1",
    "dataset.train_subset=96",
    "batch_size=16",  # 6 steps an epoch
    "training.eval_every=1",
    "epochs=3",
)
DROPOUT = ("backbone.kwargs.drop_rate=0.3", "method=independent")


class SignalAt(Silent):
    """A display that sends signals to this process, each after a step, and keeps what is said."""

    def __init__(self, *after: tuple[int, int]) -> None:
        self.steps = 0
        self.after = list(after)
        self.lines: list[str] = []

    def start(self, total_steps, done):
        self.steps = done

    def say(self, line):
        self.lines.append(line)

    def step(self, tally):
        self.steps += 1
        if self.after and self.after[0][0] == self.steps:
            os.kill(os.getpid(), self.after.pop(0)[1])


def outcome(folder: RunFolder) -> tuple:
    """What has to be the same: the student, and the records but for what they took."""
    records = read_records(folder)
    for record in records:
        del record["seconds"], record["peak_memory"]
    result = folder.read_result()
    figures = {key: result[key] for key in ("epochs", "steps", "last", "best", "student")}
    return (folder.path / "student.safetensors").read_bytes(), records, figures


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple:
    """What the run comes to when nobody disturbs it."""
    return outcome(train(compose([*SMALL, f"out={tmp_path_factory.mktemp('whole')}"])))


def preempted(config, *after: tuple[int, int]) -> SignalAt:
    display = SignalAt(*after)
    with pytest.raises(Stopped):
        train(config, display)
    return display


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_after_the_step_and_ends_with_its_exit_code(number, tmp_path):
    config = compose([*SMALL, f"out={tmp_path}"])
    with pytest.raises(Stopped) as stop:
        train(config, SignalAt((8, number)))
    assert stop.value.exit_code == 128 + number
    assert stop.value.step == 8
    state = load_checkpoint(folder_of(config).checkpoint)
    assert (state["epoch"], state["step"]) == (1, 8)


def test_a_run_that_is_preempted_again_and_again_ends_with_the_same_bytes(whole, tmp_path):
    """In mid-epoch, twice in one epoch, and after the last step of one."""
    config = compose([*SMALL, f"out={tmp_path}"])
    for step in (2, 4, 6, 13, 17):
        preempted(config, (step, signal.SIGTERM))
    display = SignalAt()
    folder = train(config, display)
    assert f"Going on in epoch 3, after step 17, in {folder.path}." in display.lines
    assert outcome(folder) == whole


def test_what_is_drawn_in_a_step_goes_on_where_it_was(tmp_path):
    settings = (*SMALL, *DROPOUT, "optimizer=adamw", "lr=0.001", "training.steps=10")
    undisturbed = outcome(train(compose([*settings, f"out={tmp_path / 'whole'}"])))
    config = compose([*settings, f"out={tmp_path / 'parts'}"])
    preempted(config, (3, signal.SIGUSR1))
    preempted(config, (9, signal.SIGUSR1))
    assert outcome(train(config)) == undisturbed


def test_so_do_images_that_workers_read(tmp_path):
    data = ("dataset.pipeline=loader", "dataset.workers=1", "dataset.augment.resized_crop=0.5")
    settings = (*SMALL, *data, "method=independent", "epochs=2")
    undisturbed = outcome(train(compose([*settings, f"out={tmp_path / 'whole'}"])))
    config = compose([*settings, f"out={tmp_path / 'parts'}"])
    preempted(config, (8, signal.SIGTERM))
    assert outcome(train(config)) == undisturbed


def test_a_checkpoint_is_left_within_an_epoch_when_the_last_one_is_old(whole, tmp_path):
    """A process that is killed loses no more than that."""

    class Killed(SignalAt):
        def step(self, tally):
            super().step(tally)
            if self.steps == 5:
                raise SystemExit

    config = compose([*SMALL, "training.checkpoint_every=0.000001s", f"out={tmp_path}"])
    with pytest.raises(SystemExit):
        train(config, Killed())
    folder = folder_of(config)
    newest, before = (
        load_checkpoint(path)["step"] for path in (folder.checkpoint, folder.previous)
    )
    assert (newest, before) == (4, 3)
    assert outcome(train(config)) == whole


@pytest.mark.parametrize("every", ["none", "10min"])
def test_a_short_epoch_has_no_checkpoint_within_it(every, tmp_path):
    class Looks(Silent):
        def step(self, tally):
            assert not folder.has_checkpoint

    config = compose([*SMALL, "epochs=1", f"training.checkpoint_every={every}", f"out={tmp_path}"])
    folder = folder_of(config)
    train(config, Looks())
    assert folder.checkpoint.is_file()


def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path, monkeypatch):
    config = compose([*SMALL, f"out={tmp_path}"])
    monkeypatch.setattr(RunFolder, "write_checkpoint", lambda *_: os.kill(os.getpid(), 2))
    with pytest.raises(Stopped) as stop:
        train(config, SignalAt((2, signal.SIGINT)))
    assert stop.value.step is None
    assert stop.value.exit_code == 130


def test_other_signals_may_come_twice(tmp_path):
    """A launcher passes on what its processes got as well."""
    config = compose([*SMALL, f"out={tmp_path}"])
    with StopSignals() as signals:
        signals.hold()
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            signals.release()
        signal.raise_signal(signal.SIGTERM)
    assert not folder_of(config).path.exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_an_evaluation_is_ended_at_once_and_made_again(number, whole, tmp_path, monkeypatch):
    config = compose([*SMALL, f"out={tmp_path}"])
    from kdzoo.training.evaluation import Evaluator

    evaluate, calls = Evaluator.__call__, []

    def second_is_stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(number)
        return evaluate(*arguments)

    monkeypatch.setattr(Evaluator, "__call__", second_is_stopped)
    with pytest.raises(Stopped) as stop:
        train(config)
    assert (stop.value.exit_code, stop.value.step, len(calls)) == (128 + number, None, 2)
    assert load_checkpoint(folder_of(config).checkpoint)["step"] == 6
    assert outcome(train(config)) == whole


def test_handlers_are_those_of_before_afterwards_and_ignored_signals_stay_ignored(tmp_path):
    mine = [lambda *_: None for _ in SIGNALS]
    before = [signal.signal(*pair) for pair in zip(SIGNALS, mine, strict=True)]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        train(compose([*SMALL, "epochs=1", f"out={tmp_path}"]), SignalAt((2, signal.SIGHUP)))
        found = [signal.getsignal(number) for number in SIGNALS]
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
    assert [*found[:-1], signal.SIG_IGN] == [*mine[:-1], found[-1]]


def test_in_another_thread_handlers_are_left_alone(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    seen = []

    class Looks(Silent):
        def step(self, tally):
            seen.append(signal.getsignal(signal.SIGTERM))

    config = compose([*SMALL, "epochs=1", f"out={tmp_path}"])
    thread = threading.Thread(target=train, args=(config, Looks()))
    thread.start()
    thread.join()
    assert seen == [handler] * 6
    assert folder_of(config).is_finished


def test_from_python_the_programs_own_handler_hears_of_it(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(SignalAt, "trained", True, raising=False)
    monkeypatch.setattr("kdzoo.api.Logged", lambda: SignalAt((2, signal.SIGTERM)))
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    settings = dict(setting.split("=") for setting in SMALL)
    try:
        with pytest.raises(KeyboardInterrupt):
            package.run(**settings, out=str(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    (checkpoint,) = Path(tmp_path).rglob("checkpoint.pt")
    assert load_checkpoint(checkpoint)["step"] == 2


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138)])
def test_the_command_says_where_it_goes_on_and_exits_as_a_shell_expects(
    kdzoo, number, code, tmp_path, monkeypatch
):
    display = SignalAt((4, getattr(signal, number)))
    monkeypatch.setattr("kdzoo.training.display.choose_display", lambda _: display)
    done = kdzoo("run", *SMALL, f"out={tmp_path}")
    assert done.code == code
    assert done.err == "Stopped. The same command goes on after step 4.\n"
