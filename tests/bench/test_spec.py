"""What a spec may say, and what is refused before the first run."""

import pytest

from kdzoo.bench.matrix import read_matrix
from kdzoo.errors import UserError

GOOD = """
methods: [independent, one]
backbones: [resnet8, resnet14]
datasets: [digits]
seeds: [3, 1]
run: {epochs: 2}
"""


def test_the_first_seed_of_everything_comes_first(spec_file):
    runs = read_matrix(spec_file(GOOD)).runs
    assert [(run.seed, run.backbone, run.method) for run in runs] == [
        (3, "resnet8", "independent"),
        (3, "resnet8", "one"),
        (3, "resnet14", "independent"),
        (3, "resnet14", "one"),
        (1, "resnet8", "independent"),
        (1, "resnet8", "one"),
        (1, "resnet14", "independent"),
        (1, "resnet14", "one"),
    ]
    assert {run.config.epochs for run in runs} == {2}


def test_rows_carry_settings_and_a_label(spec_file):
    text = """
methods:
  - independent
  - {label: "two peers", method: one, method.peers: 2, lr: 0.05}
  - method: {name: one, temperature: 4.0}
backbones:
  - {backbone: resnet8, batch_size: 64}
datasets: [digits]
seeds: [0]
"""
    plain, two, hot = read_matrix(spec_file(text)).runs
    assert (plain.method, two.method, hot.method) == (
        "independent",
        "two peers",
        "one (temperature=4.0)",
    )
    assert (two.config.method.peers, two.config.lr, two.config.batch_size) == (2, 0.05, 64)
    assert hot.config.method.temperature == 4.0
    assert plain.backbone == "resnet8 (batch_size=64)"


def test_an_ablation_changes_the_method_it_names(spec_file):
    text = """
methods: [one, {label: ours, method: mbde, method.peers: 4}]
ablations:
  - {of: ours, method.regularizers: []}
  - {of: ours, label: fewer, method: {peers: 2}}
backbones: [resnet8]
datasets: [digits]
seeds: [0]
"""
    _, ours, without, fewer = read_matrix(spec_file(text)).runs
    assert (ours.config.method.peers, len(ours.config.method.regularizers)) == (4, 1)
    assert without.method == "ours (regularizers=[])"
    assert (without.config.method.peers, without.config.method.regularizers) == (4, ())
    assert (fewer.method, fewer.config.method.peers) == ("fewer", 2)


def test_overrides_change_the_spec(spec_file):
    changes = ["seeds=[7]", "run.epochs=5", "launcher=ray", "launcher.cpus=2", "jobs=3"]
    matrix = read_matrix(spec_file(GOOD), changes)
    assert {(run.seed, run.config.epochs) for run in matrix.runs} == {(7, 5)}
    assert (matrix.spec.launcher.name, matrix.spec.launcher.cpus, matrix.spec.jobs) == (
        "ray",
        2,
        3,
    )


def test_specs_of_one_folder_share_runs(spec_file):
    longer = GOOD.replace("[independent, one]", "[dml, one]")
    first = {run.folder.path for run in read_matrix(spec_file(GOOD)).runs}
    second = {run.folder.path for run in read_matrix(spec_file(longer, "other.yaml")).runs}
    assert len(first & second) == 4


REST = "backbones: [resnet8]\ndatasets: [digits]\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("methods: [one, mdbe]\n" + REST, ["methods.1.method.name", "mbde"]),
        ("methods: [one]\nbackbones: [resnet9]\ndatasets: [digits]", ["backbones.0", "resnet"]),
        ("methods: [one]\nbackbones: [resnet8]\ndatasets: [digit]", ["datasets.0", "digits"]),
        ("methods: [one]\nrun: {epoch: 3}\n" + REST, ["run.epoch", "epochs"]),
        ("methods: [{method: one, method.temprature: 2}]\n" + REST, ["methods.0", "temperature"]),
        ("methods: []\n" + REST, ["methods", "empty"]),
        ("methods: [one]\nseeds: []\n" + REST, ["seeds", "empty"]),
        (REST, ["methods", "needed"]),
        ("methods: one\n" + REST, ["methods", "list"]),
        ("methods: [one, one]\n" + REST, ["methods", "'one'", "twice"]),
        ("methods: [one, {label: same, method: one}]\n" + REST, ["'digits / resnet8 / same'"]),
        ("methods: [one]\nablations: [{of: one, method.peers: 3}]\n" + REST, ["same run"]),
        ("methods: [one]\nablations: [{of: one}]\n" + REST, ["ablations.0", "changes nothing"]),
        ("methods: [one]\nablations: [{of: ones, lr: 1}]\n" + REST, ["ablations.0.of", "one"]),
        ("methods: [one]\nseeds: 3\n" + REST, ["seeds", "3"]),
        ("methods: [one]\nseeds: '0,1'\n" + REST, ["seeds"]),
        ("methods: [one]\nseeds: [a]\n" + REST, ["seeds.0", "'a'"]),
        ("methods: [one]\nseeds: [true]\n" + REST, ["seeds.0"]),
        ("methods: [one]\nseeds: [-1]\n" + REST, ["seeds.0"]),
        ("methods: [one]\nseeds: [1, 1]\n" + REST, ["seeds", "twice"]),
        ("methods: [one]\nbaseline: two\n" + REST, ["baseline", "one"]),
        ("methods: [{method: one, seed: 1}]\n" + REST, ["methods.0.seed", "seeds"]),
        ("methods: [one]\nrun: {out: here}\n" + REST, ["run.out"]),
        ("methods: [one]\nrun: 30\n" + REST, ["run", "mapping"]),
        ("methods: [{lr: 1}]\n" + REST, ["methods.0", "chooses no method"]),
        ("methods: [3]\n" + REST, ["methods.0"]),
        ("methods: [one]\njobs: 0\n" + REST, [": jobs: ", "than or equal to 1 or 'auto', not 0"]),
        ("methods: [one]\njobs: x\n" + REST, [": jobs: ", "or 'auto', not 'x'"]),
        (
            "methods: [{method: one, label: [5]}]\n" + REST,
            ["methods.0.label", "label is text, not ["],
        ),
        ("methods: [one]\nlauncher: slurm\n" + REST, ["launcher.name", "slurm", "ray"]),
        ("methods: [one]\nmethod: [one]\n" + REST, ["method", "methods"]),
        ('methods: [{method: one, label: "\\e[2J"}]\n' + REST, ["methods.0.label", "printable"]),
        ("methods: [one\n", ["YAML"]),
        ("- one\n", ["list"]),
    ],
)
def test_a_wrong_spec_is_refused_with_the_place(tmp_path, kdzoo, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text(text)
    done = kdzoo("bench", "wrong.yaml")
    assert done.code == 2
    assert all(word in done.err for word in ["wrong.yaml", *says]), done.err
    assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.yaml"]


@pytest.mark.parametrize("value", ["null", "30", "epochs"])
def test_a_text_for_the_settings_of_runs_is_refused_there(spec_file, value):
    with pytest.raises(UserError, match=rf"run: This takes settings, .*'{value}'"):
        read_matrix(spec_file("methods: [one]\nrun: {epochs: 1}\n" + REST), [f"run={value}"])


def test_no_spec_and_no_override_are_refused(tmp_path, spec_file):
    with pytest.raises(UserError, match=r"There is no spec .*missing\.yaml"):
        read_matrix(tmp_path / "missing.yaml")
    with pytest.raises(UserError, match="'jobs' is no override"):
        read_matrix(spec_file(GOOD), ["jobs"])
