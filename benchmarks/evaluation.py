"""How fast kdzoo evaluates, beside the plain loop and beside training.

    python benchmarks/evaluation.py                                  # two minutes a line
    python benchmarks/evaluation.py --images 1280 --rounds 3 mbde/resnet32 kd/resnet20

Each method judges its student, ensemble and peers on the same random 32x32 images in two ways, in
turns in one process: in the plain loop below, and as a run does. A method has taken some steps of
training before; kd's teacher is a resnet110. All times are CPU time, which other programs on the
machine disturb least: the median of the rounds, and in brackets the least.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kdzoo
from kdzoo.data import ArrayImages, DataModule, Dataset, DatasetConfig, Split, Splits, open_data
from kdzoo.methods.base import Method
from kdzoo.peers.calls import probe_batch
from kdzoo.training.evaluation import Evaluator
from kdzoo.training.folding import ConvBatchNorm, find_foldable

CASES = ("mbde/resnet20", "mbde/resnet32", "one/resnet32", "dml/resnet32", "kd/resnet20")
COLUMNS = (
    "method",
    "a step",
    "plain loop",
    "kdzoo",
    "convolutions alone",
    "plain / kdzoo",
    "step / kdzoo",
    "printed figures",
)
BATCH, CLASSES, STEPS = 128, 100, 6
CPU = torch.device("cpu")
Figures = tuple[float, float]


class Random(Dataset):
    """Random images, labelled at random."""

    def __init__(self, count: int) -> None:
        super().__init__(DatasetConfig(name="random"))
        self.count = count

    def load(self) -> Splits:
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (self.count, 32, 32, 3), dtype=np.uint8)
        split = Split(ArrayImages(pixels), np.arange(self.count) % CLASSES)
        return Splits(split, split, [str(k) for k in range(CLASSES)])


@torch.inference_mode()
def plain_loop(method: Method, batches: Iterable[tuple[Tensor, Tensor]]) -> list[Figures]:
    """Top-1 and nll of the student and of each peer."""
    method.eval()
    count, hits, nll = 0, torch.zeros(()), torch.zeros((), dtype=torch.float64)
    for x, y in batches:
        predictions = method.predict(method.outputs(x))
        z = torch.cat([predictions["student"][None], predictions["peers"]])
        losses = F.cross_entropy(z.flatten(0, 1), y.repeat(len(z)), reduction="none")
        hits = hits + (z.argmax(dim=-1) == y).sum(dim=1)
        nll = nll + losses.view(len(z), -1).double().sum(dim=1)
        count += len(y)
    return [(100 * h / count, n / count) for h, n in zip(hits.tolist(), nll.tolist(), strict=True)]


def as_a_run_does(method: Method, data: DataModule, foldable: list[ConvBatchNorm]) -> list[Figures]:
    """The same figures, and all others that a run records."""
    figures = Evaluator(method, foldable)(data.eval_batches("test"))
    return [(each["top1"], each["nll"]) for each in (figures["student"], *figures["peers"])]


def time_steps(method: Method, data: DataModule) -> float:
    """CPU seconds for one image of a step, forward and backward, without optimiser and data."""
    optimizer = torch.optim.SGD(method.parameters(), 0.01)
    times = []
    for _, (x, y, _) in zip(range(STEPS), data.train_batches(0, method.views), strict=False):
        started = time.process_time()
        torch.stack([*method.train()(x, y, 0.5).terms.values()]).sum().backward()
        times.append(time.process_time() - started)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    return min(times) / BATCH


@torch.inference_mode()
def time_convolutions(method: Method, x: Tensor, rounds: int) -> float:
    """CPU seconds for one image of nothing but the convolutions of an evaluation: the bound."""
    calls: list[tuple[nn.Module, Tensor]] = []
    convs = [module for module in method.modules() if isinstance(module, nn.Conv2d)]
    hooks = [
        conv.register_forward_pre_hook(lambda conv, given: calls.append((conv, given[0].clone())))
        for conv in convs
    ]
    method.eval().evaluate(x)
    for hook in hooks:
        hook.remove()
    times = [timed(lambda: [conv(given) for conv, given in calls])[0] for _ in range(rounds)]
    return min(times) / len(x)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def printed(figures: list[Figures]) -> list[str]:
    """As tables have them."""
    return [f"{top1:.2f} % {nll:.4f}" for top1, nll in figures]


def compare(case: str, images: int, rounds: int) -> None:
    name, backbone = case.split("/")
    teacher = kdzoo.create_backbone("resnet110", num_classes=CLASSES)
    settings = {"teacher": teacher} if name in ("kd", "shake") else {}
    method = kdzoo.create_method(name, backbone=backbone, num_classes=CLASSES, **settings)
    method = method.to(memory_format=torch.channels_last)
    data = open_data(Random(images), batch_size=BATCH, seed=0, device=CPU)
    step = time_steps(method, data)
    foldable = find_foldable(
        method, lambda: method.evaluate(probe_batch(method, data.info.input_size))
    )
    whole = [torch.cat(part) for part in zip(*data.eval_batches("test"), strict=True)]
    batches = list(zip(*(part.split(BATCH) for part in whole), strict=True))
    ways: dict[str, Callable[[], list[Figures]]] = {
        "plain": lambda: plain_loop(method, batches),
        "kdzoo": lambda: as_a_run_does(method, data, foldable),
    }
    bound = 1000 * time_convolutions(method, batches[0][0], rounds)
    times: dict[str, list[float]] = {way: [] for way in ways}
    figures: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        for way, work in ways.items():
            seconds, figures[way] = timed(work)
            times[way].append(1000 * seconds / images)
    least = {way: min(taken) for way, taken in times.items()}
    shared = len(figures["kdzoo"])  # a leader is not among the peers
    same = printed(figures["plain"][:shared]) == printed(figures["kdzoo"])
    cells = [
        case,
        f"{1000 * step:.2f}",
        *(f"{statistics.median(times[way]):.2f} [{least[way]:.2f}]" for way in ways),
        f"{bound:.2f}",
        f"{least['plain'] / least['kdzoo']:.2f}",
        f"{1000 * step / least['kdzoo']:.1f}",
        "the same" if same else "NOT THE SAME",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=CASES, help="method/backbone")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), ms of CPU time an image\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for case in arguments.cases:
        compare(case, arguments.images, arguments.rounds)


if __name__ == "__main__":
    main()
