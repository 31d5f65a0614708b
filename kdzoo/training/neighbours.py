"""Runs beside a run that differ from it in one setting, and how a shorter one is gone on from."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.methods.base import Method
from kdzoo.optim.schedule import Schedule
from kdzoo.training.eval_every import evaluation_interval
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import RunIdentity
from kdzoo.training.running_statistics import looks_back_as_far
from kdzoo.training.trainer import Trainer


@dataclass(frozen=True)
class Neighbour:
    """Another run.

    Attributes:
        folder: where it is.
        name: the one thing in which it differs, such as ``epochs``, ``lr`` or ``data``.
        theirs: how that is there, in words.
    """

    folder: RunFolder
    name: str
    theirs: str

    def __str__(self) -> str:
        return f"A run that differs in {self.name} ({self.theirs}) is in {self.folder.path}"


def neighbours(folder: RunFolder, identity: RunIdentity) -> list[Neighbour]:
    """The runs beside a folder's that differ from it in one thing, but for the seed."""
    return list(_neighbours(folder, identity))


def _neighbours(folder: RunFolder, identity: RunIdentity) -> Iterator[Neighbour]:
    for path in sorted(folder.path.parent.glob(f"seed{identity.settings['seed']}-*/")):
        other = RunFolder(path)
        if path == folder.path or not other.identity.is_file():
            continue
        try:
            differences = identity.differences(other.read_identity())
        except UserError:  # somebody else's damage is no matter of this run
            continue
        if len(differences) == 1:
            ((name, theirs),) = differences.items()
            yield Neighbour(other, name, theirs)


def look_around(folder: RunFolder, identity: RunIdentity, trainer: Trainer) -> str | None:
    """Before a run begins: go on from a shorter run like it, or tell of one that is much like it.

    A shorter run's state is copied where the longer one would have come to the very same state by
    itself; the shorter run stays as it is.

    Returns:
        a line for a person; None where no run is like this one.
    """
    found = neighbours(folder, identity)
    shorter = [one for one in found if one.name == "epochs" and int(one.theirs) < trainer.epochs]
    for one in sorted(shorter, key=lambda one: int(one.theirs), reverse=True):
        reason = _why_not(one, trainer) or _copy(one, folder, identity, trainer)
        if reason is None:
            return f"{one}; this one goes on from there."
        return f"{one}; this one starts from the beginning, since {reason}."
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{found[0]}{more}." if found else None


def _why_not(shorter: Neighbour, trainer: Trainer) -> str | None:
    """Why the longer run's steps would not be those of the shorter one; None where they are."""
    config = trainer.config
    if config.training.steps is not None:
        return None  # both are as long, whatever their epochs
    before = int(shorter.theirs)
    steps_per_epoch = trainer.data.steps_per_epoch
    steps = before * steps_per_epoch
    if not _same_rates(config, steps, trainer.total_steps):
        name = config.schedule.name
        return (
            f"the rates of schedule={name} depend on the length (those of constant without a "
            "warm-up do not)"
        )
    if config.training.average == "swa":
        return "the epochs that training.average=swa takes the mean of depend on the length"
    if not looks_back_as_far(trainer.method, steps):
        return "batch norm's statistics look back over less in so short a training"
    if depends_on_progress(trainer.method, trainer.data.info.input_size):
        return f"what {config.method.name} minimises depends on the length (see its ramp_up)"
    return None


def _same_rates(config: RunConfig, shorter: int, longer: int) -> bool:
    """Whether all steps of the shorter training have the same rates in the longer one."""
    optimizer = torch.optim.SGD([torch.zeros(1)], config.lr)
    first, second = (Schedule(config.schedule, optimizer, steps) for steps in (shorter, longer))
    return all(first.rates(step) == second.rates(step) for step in range(shorter))


_FORM = [vars(torch._C.TensorBase)[name].__get__ for name in ("device", "dtype", "shape", "ndim")]
FORM = (torch.ones_like, torch.zeros_like, *_FORM)
"""What may be done with a progress without a look at its value."""


class _Watched(Tensor):
    """A progress that tells when somebody looks at it."""

    class LookedAtError(Exception):
        """Its value was asked for."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in FORM:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **(kwargs or {}))
        raise cls.LookedAtError


def depends_on_progress(method: Method, input_size: tuple[int, int, int]) -> bool:
    """Whether a step of the method depends on how far the training is; found out by a step.

    Args:
        method: it is not changed.
        input_size: (C, H, W) of a sample.
    """
    trial = copy.deepcopy(method).train()
    device = next(trial.parameters()).device
    views = (trial.views,) if trial.views > 1 else ()
    x = torch.zeros(*views, 2, *input_size, device=device)
    y = torch.zeros(2, dtype=torch.long, device=device)
    progress = torch.zeros((), device=device).as_subclass(_Watched)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            trial.forward(x, y, progress, torch.arange(2, device=device))
    except _Watched.LookedAtError:
        return True
    return False


def _copy(
    shorter: Neighbour, folder: RunFolder, identity: RunIdentity, trainer: Trainer
) -> str | None:
    """Copy the state and the records of a shorter run; a reason where that is not possible."""
    try:
        with shorter.folder.locked():
            state, damage = shorter.folder.read_checkpoint(shorter.folder.read_identity())
        if damage is not None:
            return f"its {shorter.folder.checkpoint.name} is damaged"
    except UserError as error:
        return f"that one cannot be used: {str(error).rstrip('.')}"
    until = state.get("compiled_until")
    if until is not None or state.get("compiled", False) != trainer.is_to_compile():
        return "only one of the two is compiled"
    every = evaluation_interval(trainer.config, identity.data.samples)
    for record in state["records"]:
        if record["epoch"] % every:
            record.pop("eval", None)  # a last epoch is always evaluated, and this one is not last
    folder.write_metrics(state["records"])
    folder.write_checkpoint(state, identity)
    return None
