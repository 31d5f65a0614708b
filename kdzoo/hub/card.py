"""The model card of a student: what it is, how good it is, and how it is loaded."""

from kdzoo.export import describe_input
from kdzoo.student import StudentInfo
from kdzoo.timm import PREFIX
from kdzoo.training.result import Result, Score

FRONT_MATTER = """---
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- timm
- knowledge-distillation
- kdzoo
---
"""
"""What the hub reads. A licence is for the person to choose who shares the weights."""

LICENCE = """## Licence
None is given yet. Choose one that the licences of the images, and of the weights that training
started from, allow; name it here and as `license:` at the top of this file."""


def model_card(
    info: StudentInfo, architecture: str, result: Result | None, repo: str | None = None
) -> str:
    """A ``README.md`` for a folder of timm's, in the hub's form.

    Args:
        info: the student.
        architecture: what timm calls its network.
        result: the run's figures; None where they are not known.
        repo: where on the hub the folder is going to be; None for nowhere.
    """
    sections = [_introduction(info, result)]
    if result is not None:
        sections += [_figures(result), _training(result)]
    sections += [_input(info), _loading(architecture, repo), LICENCE]
    return FRONT_MATTER + "\n" + "\n\n".join(sections) + "\n"


def _introduction(info: StudentInfo, result: Result | None) -> str:
    version = f" {info.kdzoo_version}" if info.kdzoo_version else ""
    toolkit = f"kdzoo{version}, a toolkit for online knowledge distillation"
    if result is None:
        return (
            f"# {info.backbone}\n\n"
            f"An image classifier for {info.num_classes} classes, trained with {toolkit}."
        )
    peers = len(result.last.peers)
    how = "trained by itself" if peers == 1 else f"one of {peers} peers that were trained together"
    return (
        f"# {info.backbone}, trained with {result.method} on {result.dataset}\n\n"
        f"An image classifier for {info.num_classes} classes: {how} by the method "
        f"`{result.method}` of {toolkit}. "
        f"It has {result.student.params:,} parameters and takes {result.student.macs:,} "
        "multiply-adds an image."
    )


def _figures(result: Result) -> str:
    last = result.last
    lines = [
        "## Figures",
        f"On the {last.split} images, after the last epoch:",
        "",
        "| | top-1 % | nll | ece % |",
        "|---|---|---|---|",
        _row("student (these weights)", last.student),
    ]
    if last.ensemble is not None:
        lines.append(_row("ensemble of the peers", last.ensemble))
    if last.mean_peer is not None:
        lines.append(f"| mean peer | {last.mean_peer:.2f} | | |")
    if last.diversity is not None:
        lines += [
            "",
            f"Diversity of the peers: a pair of them classifies {last.diversity.disagreement:.2f} "
            f"% of the images differently; their probabilities are {last.diversity.l2:.4f} apart "
            "(L2).",
        ]
    if result.test_repeats:
        lines += ["", f"{result.test_repeats:,} test images are also in the training set."]
    lines += ["", "One seed: differences of a few tenths of a percent say nothing."]
    return "\n".join(lines)


def _row(name: str, score: Score) -> str:
    ece = "" if score.ece is None else f"{score.ece:.2f}"
    return f"| {name} | {score.top1:.2f} | {score.nll:.4f} | {ece} |"


def _training(result: Result) -> str:
    sizes = {"training": result.train_size, "validation": result.val_size, "test": result.test_size}
    images = ", ".join(f"{size:,} for {name}" for name, size in sizes.items() if size)
    return (
        "## Training\n"
        f"- data: {result.dataset}; images: {images}\n"
        f"- method: {result.method}, {result.epochs} epochs, seed {result.seed}"
    )


def _input(info: StudentInfo) -> str:
    lines = "\n".join(f"- {line}" for line in describe_input(info))
    return f"## Input and output\n{lines}\n- The names of all classes are in `config.json`."


def _loading(architecture: str, repo: str | None) -> str:
    place = f"hf-hub:{repo}" if repo else "local-dir:PATH/OF/THIS/FOLDER"
    ours = architecture.startswith(PREFIX)
    imports = ["import timm"]
    if ours:
        imports += ["", "import kdzoo.timm  # pip install kdzoo: timm has its networks then"]
    code = "\n".join(
        [
            *imports,
            "",
            f'network = timm.create_model("{place}", pretrained=True).eval()',
            "config = timm.data.resolve_data_config({}, model=network)",
            "transform = timm.data.create_transform(**config)",
            'labels = network.pretrained_cfg["label_names"]',
        ]
    )
    return f"## Loading\n```python\n{code}\n```"
