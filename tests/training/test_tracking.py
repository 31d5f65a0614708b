"""What trackers are told, read back with their own readers."""

import pytest
from hand_made import read_records

from kdzoo.compose import compose
from kdzoo.errors import ConfigError
from kdzoo.files import read_json
from kdzoo.training.display import Silent
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.tracking import TRACKERS

SMALL = (
    "backbone=resnet8",
    "device=cpu",
    "precision=fp32",
    "epochs=3",
    "batch_size=32",
    "dataset.train_subset=64",
    "training.eval_every=1",
)


class Stop(Silent):
    def epoch(self, record, epochs):
        if record["epoch"] == 2:
            raise KeyboardInterrupt


def interrupted_and_finished(*settings: str) -> RunFolder:
    config = compose([*SMALL, *settings])
    with pytest.raises(KeyboardInterrupt):
        train(config, Stop())
    return train(config)


def test_tensorboard_has_every_figure_once_and_config_and_environment(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = interrupted_and_finished("training.tracker=tensorboard", f"out={tmp_path}")
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    records = read_records(folder)
    for term in records[0]["train"]:
        seen = [(event.step, event.value) for event in events.Scalars(f"train/{term}")]
        assert seen == [(at["epoch"], pytest.approx(at["train"][term])) for at in records]
    judged = [event.value for event in events.Scalars("test/student/top1")]
    assert judged == [pytest.approx(at["eval"]["student"]["top1"]) for at in records]
    assert len(events.Scalars("test/peers/2/top1")) == 3
    texts = set(events.Tags()["tensors"])
    wanted = {"method.name", "lr", "environment.python", "environment.packages.torch", "student"}
    assert {f"{name}/text_summary" for name in wanted} <= texts


def test_under_a_bench_each_run_has_its_own_events_once(spec_file, tmp_path, kdzoo):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training = "{tracker: tensorboard, eval_every: 1}"
    tracker = f"run: {{epochs: 2, batch_size: 32, device: cpu, training: {training}}}\n"
    spec = "methods: [independent]\nbackbones: [resnet8]\ndatasets: [digits]\nseeds: [0, 1]\n"
    done = kdzoo("bench", str(spec_file(spec + tracker)), "jobs=1", "run.dataset.train_subset=64")
    assert done.code == 0
    folders = [RunFolder(result.parent) for result in tmp_path.rglob("result.json")]
    assert len(folders) == 2
    for folder in folders:
        (file,) = (folder.path / "tensorboard").glob("events.out*")
        events = EventAccumulator(str(file))
        events.Reload()
        losses = [record["train"]["loss"] for record in read_records(folder)]
        seen = [(event.step, event.value) for event in events.Scalars("train/loss")]
        assert seen == [(1, pytest.approx(losses[0])), (2, pytest.approx(losses[1]))]


def test_mlflow_goes_on_with_the_same_run_and_keeps_the_student(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlflow'}")
    folder = interrupted_and_finished("training.tracker=mlflow", f"out={tmp_path / 'runs'}")
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'kdzoo'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["method.name"] == "mbde"
    assert run.data.params["environment.precision"] == "fp32"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    records = read_records(folder)
    assert [metric.step for metric in history] == [1, 2, 3]
    assert [metric.value for metric in history] == [at["train"]["loss"] for at in records]
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {"student.safetensors", "student.json"}


def test_a_missing_tracker_is_an_error_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("kdzoo.training.tracking.get_available_trackers", lambda: [])
    with pytest.raises(ConfigError, match=r"training\.tracker: .*kdzoo\[wandb\]"):
        train(compose([*SMALL, "training.tracker=wandb", f"out={tmp_path}"]))
    assert not list(tmp_path.iterdir())


def refuses(*arguments):
    raise RuntimeError("No API key configured.")


def test_a_tracker_that_does_not_start_is_one_message_and_leaves_no_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setitem(TRACKERS, "tensorboard", refuses)
    with pytest.raises(ConfigError, match=r"training\.tracker: .*No API key configured\. Nothing"):
        train(compose([*SMALL, "training.tracker=tensorboard", f"out={tmp_path}"]))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_a_tracker_that_does_not_start_costs_no_finished_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    short = [*SMALL, "training.steps=2", "training.tracker=tensorboard", f"out={tmp_path}"]
    folder = train(compose(short))
    before = contents(folder)
    monkeypatch.setitem(TRACKERS, "tensorboard", refuses)
    with pytest.raises(ConfigError, match="was changed"):
        train(compose([*short, "resume=never"]))
    assert contents(folder) == before


def contents(folder: RunFolder) -> dict[str, bytes]:
    files = (path for path in folder.path.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


class Watched(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_a_tracker_that_fails_in_between_is_told_later_and_stops_nothing(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TRACKERS["tensorboard"].log

    def fails_once(self, figures, step):
        if step == 2 and self.told == 1 and not lost:
            lost.append(step)
            raise ConnectionError("The server is away\nand more")
        log(self, figures, step)

    lost = []
    monkeypatch.setattr(TRACKERS["tensorboard"], "log", fails_once)
    watched = Watched()
    settings = [*SMALL, "method=independent", "training.tracker=tensorboard", f"out={tmp_path}"]
    folder = train(compose(settings), watched)
    (said,) = [line for line in watched.lines if "tensorboard" in line]
    assert said.startswith("tensorboard was not told of epoch 2 or later: The server is away. ")
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]


def test_wandb_offline_is_one_run_with_every_figure_once(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from offline_wandb import read_offline

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = interrupted_and_finished("training.tracker=wandb", f"out={tmp_path}")
    (file,) = folder.path.glob("wandb/offline-run-*/run-*.wandb")
    told = read_offline(file)
    records = read_records(folder)
    assert [row["_step"] for row in told.history] == [1, 2, 3]
    for term in records[0]["train"]:
        assert [row[f"train/{term}"] for row in told.history] == [
            at["train"][term] for at in records
        ]
    judged = [row["test/student/top1"] for row in told.history]
    assert judged == [at["eval"]["student"]["top1"] for at in records]
    assert told.config["method.name"] == "mbde"
    assert told.config["environment.precision"] == "fp32"
    assert told.summary["result/last/student/top1"] == judged[-1]
    assert file.name == f"run-{read_json(folder.path / 'tracker.json')['wandb']}.wandb"
    assert (told.artifacts, told.exit_code) == (1, 0)


def test_mlflow_is_told_what_an_attempt_left_out_and_nothing_twice(tmp_path, monkeypatch):
    """A kill in the middle of an epoch's figures leaves some of them."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlflow'}")
    log = TRACKERS["mlflow"].log

    def dies_half_way(self, figures, step):
        if step == 2:
            figures = dict(list(figures.items())[:3])
        log(self, figures, step)
        if step == 2:
            raise KeyboardInterrupt

    settings = [*SMALL, "training.tracker=mlflow", f"out={tmp_path / 'runs'}"]
    monkeypatch.setattr(TRACKERS["mlflow"], "log", dies_half_way)
    with pytest.raises(KeyboardInterrupt):
        train(compose(settings))
    monkeypatch.setattr(TRACKERS["mlflow"], "log", log)
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'kdzoo'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    folder = train(compose(settings))
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    for name in run.data.metrics:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
        assert steps == ([3] if name.startswith("result/") else [1, 2, 3]), name
    history = client.get_metric_history(run.info.run_id, "lr")
    assert [metric.value for metric in history] == [at["lr"] for at in read_records(folder)]


def test_each_tracker_has_its_own_name_of_a_run(tmp_path, monkeypatch):
    """A run that goes on under another tracker is a new one there."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlflow'}")
    settings = [*SMALL, "method=independent", f"out={tmp_path / 'runs'}"]
    with pytest.raises(KeyboardInterrupt):
        train(compose([*settings, "training.tracker=wandb"]), Stop())
    folder = train(compose([*settings, "training.tracker=mlflow"]))
    assert read_json(folder.path / "tracker.json").keys() == {"wandb", "mlflow"}
