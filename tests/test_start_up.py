"""What is looked up, printed or refused is so without waiting for torch, let alone for more."""

import json
import subprocess
import sys

import pytest

from kdzoo import registry

HEAVY = ["torch", "timm", "torchvision", "torchmetrics", "accelerate", "sklearn", "scipy"]

COMMANDS = [
    *(f"list {kinds}" for kinds in [*registry.ALL, "recipes"]),
    "show method kd",
    "show aggregator gate",
    "show regularizer cd",
    "show dataset cifar100",
    "show launcher local",
    "show recipe cosine",
    "config",
    *(f"config method={name}" for name in registry.methods.names()),
    *(f"config dataset={name} dataset.root=." for name in registry.datasets.names()),
    "config backbone=timm/resnet18.a1_in1k",
    "config backbone=wrn16_2 backbone.split_at=2 schedule=wsd optimizer.momentum=0.9",
    "config method.aggregator=mean method.regularizers=[negative_correlation]",
    "lst",
    "run rn=1",
    "run nothing.yaml",
    "run lr=high",
    "run method=mdbe",
    "run method.temprature=3",
    "run method.aggregator=ffn",
    "run dataset=cifar",
    "run backbone=resnet2O",
    "run backbone=resnet34",
    "run dataset.augment.flip=2",
    "run dataset.augment.crop_padding=-1",
    "run schedule=cosin",
]

# Each command in turn, in one process: what is imported stays so.
SCRIPT = """
import json, sys
from kdzoo.cli import main

heavy, commands = json.loads(sys.argv[1])
for command in commands:
    sys.argv = ["kdzoo", *command.split()]
    try:
        main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code or 0
    print(json.dumps([command, code, [name for name in heavy if name in sys.modules]]))
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Exit code and heavy modules after each command."""
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([HEAVY, COMMANDS])],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    lines = [line for line in process.stdout.splitlines() if line.startswith('["')]
    return {command: (code, modules) for command, code, modules in map(json.loads, lines)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_needs_no_network_imports_no_torch(done, command):
    assert done[command] == (2 if command.startswith(("run", "lst")) else 0, [])


@pytest.mark.parametrize("kinds", registry.ALL)
def test_what_the_source_says_is_what_is_imported(kinds):
    listed = registry.ALL[kinds]
    for name in listed.names():
        chosen, about = listed.get(name), listed.about(name)
        assert about.module == chosen.__module__
        if not about.module.startswith("kdzoo."):  # another test's, in this process
            continue
        assert about.docstring
        assert chosen.__doc__.strip().startswith(about.docstring.partition("\n")[0])
        assert about.paper == getattr(chosen, "paper", "")
        if kinds != "backbones":
            assert listed.get_config(name) is chosen.Config
