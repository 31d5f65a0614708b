"""Runs on a Ray cluster, one of whose workers dies on the way."""

import io
import threading
import time

import pytest
from hand_made import finish, folder_of
from pydantic import ValidationError
from rich.console import Console

from kdzoo.bench.board import State
from kdzoo.bench.launchers import ray as launcher
from kdzoo.bench.launchers.ray import Ray, pack, room_for, train_away, unpack
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.progress import read_progress
from kdzoo.bench.runner import run_bench
from kdzoo.cli.bench import make_report
from kdzoo.compose import compose
from kdzoo.errors import UserError
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

EPOCHS = 80
QUICK = {
    "method": "independent",
    "backbone": "resnet8",
    "dataset.train_subset": 128,
    "device": "cpu",
    "training.eval_every": 50,
    "training.threads": 1,
}
SPEC = f"""
methods: [independent]
backbones: [resnet8]
datasets: [{{dataset: digits, dataset.train_subset: 128}}]
seeds: [0, 1]
run: {{epochs: {EPOCHS}, training.eval_every: 50, training.threads: 1, device: cpu}}
launcher: ray
"""


def test_folders_travel_whole_and_without_locks(tmp_path, finished):
    folder = finished(90.0)
    (folder.path / ".bench.lock").touch()
    (folder.path / ".lock").touch()
    files = pack(tmp_path, [folder.path])
    unpack(files, tmp_path / "there", last=tmp_path / "there" / "result.json")
    there = RunFolder(tmp_path / "there" / folder.path.relative_to(tmp_path))
    assert there.read_result() == folder.read_result()
    names = {path.name for path in there.path.iterdir()}
    assert names == {
        "config.yaml",
        "identity.json",
        "environment.json",
        "metrics.jsonl",
        "result.json",
        "student.json",
        "student.safetensors",
    }


def test_a_run_away_from_home_goes_on_from_what_is_sent(tmp_path):
    settings = {"method": "independent", "backbone": "resnet8", "epochs": 1, "device": "cpu"}
    config = compose(settings={**settings, "out": str(tmp_path)})
    folder = finish(config, 77.0)
    place = str(folder.path.relative_to(tmp_path))
    settings = config.model_dump(mode="json")
    *_, last = train_away(settings, place, pack(tmp_path, [folder.path]))
    assert last.ended
    assert last.failure is None
    (log,) = [text for name, text in last.files.items() if name.endswith("log.txt")]
    assert b"is finished" in log


def test_a_failure_away_from_home_comes_back_with_its_log(tmp_path):
    config = compose(settings={"out": str(tmp_path), "device": "cuda:99"})
    *_, last = train_away(config.model_dump(mode="json"), "digits/x/y/seed0-0", {})
    assert "cuda:99" in last.failure


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "room"),
    [
        ([{"CPU": 8}], 3, 0, 2),
        ([{"CPU": 3}, {"CPU": 3}], 2, 0, 2),  # not 3, of which one would be on both
        ([{"CPU": 8, "GPU": 2}], 1, 0.5, 4),
        ([{"CPU": 8, "GPU": 2}], 1, 0.4, 4),  # not 5, of which one would be on two GPUs
        ([{"CPU": 16, "GPU": 1}], 1, 0.1, 10),
        ([{"CPU": 16, "GPU": 3}, {"CPU": 16, "GPU": 3}], 1, 2, 2),
        ([{"CPU": 1, "GPU": 4}, {"CPU": 8}], 1, 1, 1),
    ],
)
def test_cores_and_gpus_are_counted_by_machine(nodes, cpus, gpus, room):
    assert room_for(nodes, cpus, gpus) == room


def test_what_no_machine_has_is_refused():
    with pytest.raises(UserError, match="4 CPUs and 2 GPUs, and no machine"):
        room_for([{"CPU": 2, "GPU": 1}, {"CPU": 2, "GPU": 1}], 1, 2)
    with pytest.raises(ValidationError, match="a part of one GPU"):
        Ray.Config(gpus=1.5)


def test_a_run_under_way_tells_what_it_has_reached(tmp_path):
    config = compose(settings={**QUICK, "epochs": 40, "out": str(tmp_path)})
    there = RunFolder(tmp_path / "home" / "run")
    place = str(folder_of(config).path.relative_to(tmp_path))
    reached, checkpoints = set(), 0
    for report in train_away(config.model_dump(mode="json"), place, {}, 0.05, 0.05):
        unpack(report.files, tmp_path / "home")
        there = RunFolder(tmp_path / "home" / place)
        reached.add(read_progress(there).epochs)
        checkpoints += any(name.endswith("checkpoint.pt") for name in report.files)
    assert len(reached) > 3
    assert max(reached) == 40
    assert checkpoints > 3
    assert there.is_finished


@pytest.mark.slow
def test_the_run_of_a_lost_machine_goes_on_elsewhere_from_what_it_had_reached(
    spec_file, monkeypatch
):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(launcher, "PROGRESS", 0.1)
    monkeypatch.setattr(launcher, "CHECKPOINT", 0.1)
    small = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    small["include_log_monitor"] = False
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        workers = [cluster.add_node(num_cpus=1, **small) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False)
        path = spec_file(SPEC)
        matrix = read_matrix(path)
        folders = [run.folder for run in matrix.runs]
        reached = []

        def kill_one_at_work():
            deadline = time.monotonic() + 240
            while time.monotonic() < deadline:
                epochs = [read_progress(folder).epochs for folder in folders]
                if all(epochs) and all(folder.has_checkpoint for folder in folders):
                    cluster.remove_node(workers[0], allow_graceful=False)
                    reached.extend(epochs)
                    return
                time.sleep(0.05)

        killer = threading.Thread(target=kill_one_at_work, daemon=True)
        killer.start()
        board = run_bench(matrix, Console(file=io.StringIO()))
        killer.join(60)
        assert board.count(State.FINISHED) == 2
        assert max(reached) < EPOCHS  # what was shown while they were under way
        logs = [folder.log.read_text() for folder in folders]
        assert sum("Going on after epoch" in log for log in logs) == 1
        assert all(f"epoch {EPOCHS}/{EPOCHS}" in log for log in logs)
        report, _ = make_report(path)
        assert [row.n for row in report.sections[0].methods] == [2]
        assert report.left_out == ()
        straight = train(matrix.runs[0].config.model_copy(update={"out": str(path.parent / "s")}))
        for name in ("student.safetensors", "student.json"):
            assert (folders[0].path / name).read_bytes() == (straight.path / name).read_bytes()
    finally:
        ray.shutdown()
        cluster.shutdown()
