"""Runs on a Ray cluster, one of whose workers dies on the way."""

import io
import threading
import time

import pytest
from hand_made import finish
from rich.console import Console

from kdzoo.bench.board import State
from kdzoo.bench.launchers.ray import pack, train_away, unpack
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.runner import run_bench
from kdzoo.cli.bench import make_report
from kdzoo.compose import compose
from kdzoo.training.run_folder import RunFolder

SPEC = """
methods: [independent, one]
backbones: [resnet8]
datasets: [{dataset: digits, dataset.train_subset: 512}]
seeds: [0, 1]
run: {epochs: 3, device: cpu, precision: fp32}
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
    ended = train_away(config.model_dump(mode="json"), place, pack(tmp_path, [folder.path]))
    assert ended.failure is None
    (log,) = [text for name, text in ended.files.items() if name.endswith("log.txt")]
    assert b"is finished" in log


def test_a_failure_away_from_home_comes_back_with_its_log(tmp_path):
    config = compose(settings={"out": str(tmp_path), "device": "cuda:99"})
    ended = train_away(config.model_dump(mode="json"), "digits/x/y/seed0-0", {})
    assert "cuda:99" in ended.failure


@pytest.mark.slow
def test_a_lost_worker_costs_no_result(spec_file, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    memory = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **memory})
    try:
        workers = [cluster.add_node(num_cpus=1, **memory) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False)
        path = spec_file(SPEC)
        matrix = read_matrix(path)
        doomed = workers[0]

        def kill_one_at_work():
            first = [run.folder for run in matrix.runs[:2]]
            deadline = time.monotonic() + 240
            while time.monotonic() < deadline:
                if any(folder.is_finished for folder in first):
                    cluster.remove_node(doomed, allow_graceful=False)
                    return
                time.sleep(0.05)

        killer = threading.Thread(target=kill_one_at_work, daemon=True)
        killer.start()
        board = run_bench(matrix, Console(file=io.StringIO()))
        killer.join(60)
        assert doomed not in cluster.worker_nodes
        cluster.wait_for_nodes()  # until the cluster knows of the loss too
        assert board.count(State.FINISHED) == 4
        report, _ = make_report(path)
        assert [row.n for row in report.sections[0].methods] == [2, 2]
        assert report.left_out == ()
        assert all((run.folder / "student.safetensors").is_file() for run in report.runs)
        assert all("epoch 3/3" in (run.folder / "log.txt").read_text() for run in report.runs)
    finally:
        ray.shutdown()
        cluster.shutdown()
