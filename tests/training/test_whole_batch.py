"""However many processes share a batch, a training takes the same steps."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor

from benchmarks.agreement import Doubled, on_processes
from kdzoo import registry
from kdzoo.backbones.create import as_backbone
from kdzoo.compose import compose
from kdzoo.data.open import open_data
from kdzoo.errors import UserError
from kdzoo.methods.outputs import MethodOutputs
from kdzoo.samples.batch import Batch
from kdzoo.testing import BACKBONE
from kdzoo.training.build import prerequisites
from kdzoo.training.device import build_accelerator, join_processes
from kdzoo.training.run import train
from kdzoo.training.sync_batch_norm import SyncBatchNorm
from kdzoo.training.trainer import Trainer
from kdzoo.training.whole_batch import WholeBatch

METHODS = [
    *sorted(registry.methods.names()),
    *("kdcl method.variant=general", "kdcl method.variant=naive"),
    "one method.regularizers=[cd,negative_correlation]",
    "ffsd method.self_distillation=true",
    "lmcl method.meta_every=2",
    "mbde training.sam_rho=0.05",
    "pcl training.average=ema",
    *(f"kd method.feature_terms=[{term}]" for term in registry.feature_terms.names()),
]
BATCH = 16
"""Which three processes cannot share evenly; a multiple of four, as some samplers ask."""
DATA = (
    *(f"backbone={BACKBONE}", "device=cpu", "precision=fp32", "training.threads=1", "epochs=2"),
    *(f"dataset.train_subset={2 * BATCH}", f"batch_size={BATCH}", "training.steps=3"),
    "training.sync_batch_norm=true",
)


def trainer_of(method: str, *settings: str, double: bool) -> Trainer:
    torch.manual_seed(0)  # for what a method draws beyond its own seed
    name, *options = method.split()
    config = compose([*DATA, f"method={name}", *options, *settings])
    method_class = registry.methods.get(name)
    processes = join_processes(config)
    data = open_data(
        config.dataset,
        batch_size=config.batch_size,
        seed=config.seed,
        device=processes.device,
        rank=processes.process_index,
        world_size=processes.num_processes,
        per_class=method_class.images_per_class(config.method),
        last_batch=method_class.repeats_last_batch(config.method),
    )
    backbone = as_backbone(config.backbones[0], data.info.num_classes, data.info.input_size)
    built = method_class(config.method, [backbone], config.seed)
    accelerator = build_accelerator(processes, "fp32")
    if double:
        return Trainer(config, built.double(), Doubled(data), accelerator, print)
    return Trainer(config, built, data, accelerator, print)


def figures_of(method: str, *settings: str) -> dict[str, list[float]]:
    """In double precision: the losses, and the whole state after the last step, in two sums.

    It ends in the second epoch, which is what memories, copies and switches are for.
    """
    trainer = trainer_of(method, *settings, double=True)
    losses = steps_of(trainer)
    state = [*trainer.method.parameters(), *trainer.method.buffers()]
    if trainer.average is not None:
        state += trainer.average.averaged.state_dict().values()
    whole = [tensor.detach().double() for tensor in state]
    sums = [[float(one.sum()), float(one.abs().sum())] for one in whole]
    return {"losses": losses, "state": [number for pair in sums for number in pair]}


def teacher_settings(method: str, out: Path) -> list[str]:
    """What names the runs that a method needs before its own, which are carried out."""
    name, *options = method.split()
    config = compose([*DATA, f"method={name}", *options, f"out={out}"])
    runs = prerequisites(config).items()
    return [f"method.{field}={train(run).path}" for field, run in runs]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on two cores that are free
def test_every_method_takes_the_same_steps_on_one_two_and_three_processes(tmp_path):
    needed = {method: teacher_settings(method, tmp_path) for method in METHODS}

    def work(rank: int, count: int) -> None:
        every = {method: figures_of(method, *needed[method]) for method in METHODS}
        (tmp_path / f"{count}-{rank}.json").write_text(json.dumps(every))

    for count in (2, 3):
        on_processes(count, partial(work, count=count), tmp_path)
    for method in METHODS:
        alone = figures_of(method, *needed[method])
        for count in (2, 3):
            ranks = [
                json.loads((tmp_path / f"{count}-{rank}.json").read_text())[method]
                for rank in range(count)
            ]
            assert all(rank == ranks[0] for rank in ranks), f"{method}: the ranks disagree"
            assert ranks[0]["losses"] == pytest.approx(alone["losses"], rel=1e-9), method
            assert ranks[0]["state"] == pytest.approx(alone["state"], rel=1e-9, abs=1e-9), method


SMALL_RATE = 3e-5
"""At which rounding is not magnified from step to step, and yet a wrong gradient is seen."""
OF_EACH_KIND = ("independent", "dml", "mbde", "okddip", "pcl", "ffsd", "bake")
"""benchmarks/agreement.py has all of them."""


def losses_of_twenty_steps(method: str, rate: float) -> list[float]:
    """In single precision, each step from what the step before has left.

    Without clipping, which would hide a gradient of another length.
    """
    options = ("training.steps=20", "epochs=20", f"lr={rate}", "training.clip_norm=null")
    options += ("schedule.name=constant", "schedule.warmup=0")
    return steps_of(trainer_of(method, *options, double=False))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_losses_in_single_precision_are_the_same_on_one_two_and_three_processes(tmp_path):
    def every(rate: float) -> dict[str, list[float]]:
        return {method: losses_of_twenty_steps(method, rate) for method in OF_EACH_KIND}

    def work(rank: int, count: int) -> None:
        (tmp_path / f"{count}-{rank}.json").write_text(json.dumps(every(SMALL_RATE)))

    for count in (2, 3):
        on_processes(count, partial(work, count=count), tmp_path)
    alone, half = every(SMALL_RATE), every(SMALL_RATE / 2)
    for method in OF_EACH_KIND:
        assert len(alone[method]) == 20, method
        for count in (2, 3):
            several = json.loads((tmp_path / f"{count}-0.json").read_text())
            assert several[method] == pytest.approx(alone[method], rel=1e-5), method
        assert half[method] != pytest.approx(alone[method], rel=2e-5), f"{method} learns nothing"


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (5, 3, 2, 2)])
def test_batch_norm_over_uneven_shares_is_that_of_the_whole_batch(shape, tmp_path):
    torch.manual_seed(0)
    x, weights = torch.randn(*shape).double() + 3, torch.randn(*shape).double()

    def pass_through(layer: torch.nn.Module, x: Tensor, weights: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        y = layer(x)
        (y * weights).sum().backward()
        assert x.grad is not None
        return [y.detach(), x.grad, *(p.grad for p in layer.parameters()), *layer.buffers()]

    kinds = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: BatchNormAct2d}
    layers = [kinds[len(shape)](3).double() for _ in range(2)]
    whole = pass_through(layers[0], x, weights)

    def work(rank: int) -> None:
        own = slice(0, 2) if rank == 0 else slice(2, 5)
        with SyncBatchNorm():
            y, dx, dw, db, *buffers = pass_through(layers[1], x[own], weights[own])
        for gradient in (dw, db):
            torch.distributed.all_reduce(gradient)
        expected = [whole[0][own], whole[1][own], *whole[2:]]
        for ours, right in zip([y, dx, dw, db, *buffers], expected, strict=True):
            torch.testing.assert_close(ours, right, rtol=1e-9, atol=1e-9)

    on_processes(2, work, tmp_path)


def test_feature_maps_are_gathered_for_a_loss_that_looks_at_them_and_refused_to_others(tmp_path):
    def work(rank: int) -> None:
        z = torch.full((2, 1 + rank, 3), float(rank))
        maps = (z[0][..., None, None],)
        stages = {1: maps * 2, -1: (maps[0] + 1, maps[0] + 2)}
        outputs = MethodOutputs(
            z, (z[0],), maps, None, stages, targets=z, ensemble=z[0], teachers=z[:0]
        )
        y = torch.arange(1 + rank)
        batch = Batch(maps[0], y, torch.ones(()), index=10 * rank + y)
        whole, said = WholeBatch((1, 2), maps=True)(outputs, batch)
        assert whole.features[0][:, 0, 0, 0].tolist() == [0, 1, 1]
        assert whole.logits.shape == (2, 3, 3)
        assert whole.stages[1][0] is whole.stages[1][1]  # sent once
        assert whole.stages[1][0][:, 0, 0, 0].tolist() == [0, 1, 1]
        assert whole.stages[-1][1][:, 0, 0, 0].tolist() == [2, 3, 3]
        assert said.y.tolist() == [0, 0, 1]
        assert said.need_index().tolist() == [0, 10, 11]
        whole, _ = WholeBatch((1, 2), maps=False)(outputs, batch)
        with pytest.raises(UserError, match="sees_maps"):
            whole.first(1).features[0]
        with pytest.raises(UserError, match="stages that it looks at"):
            whole.first(1).stages[-1][0]

    on_processes(2, work, tmp_path)


def steps_of(trainer: Trainer) -> list[float]:
    """The loss of each step."""
    losses: list[float] = []
    trainer.method.register_forward_hook(
        lambda _, inputs, result: losses.append(
            sum(float(term.detach()) for term in result.terms.values())
        )
    )
    for _ in range(trainer.config.epochs):
        trainer.train_epoch(lambda tally: None)
    return losses
