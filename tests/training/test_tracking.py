"""What trackers are told, read back with their own readers."""

import pytest
from hand_made import read_records

from kdzoo.compose import compose
from kdzoo.errors import ConfigError
from kdzoo.training.display import Silent
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.tracking import TRACKERS, tracked

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


def test_a_tracker_that_does_not_start_is_one_message(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")

    def refuses(*arguments):
        raise RuntimeError("No API key configured.")

    monkeypatch.setitem(TRACKERS, "tensorboard", refuses)
    with (
        pytest.raises(ConfigError, match=r"training\.tracker: .*No API key configured\."),
        tracked("tensorboard", tmp_path, {}, []),
    ):
        pass
