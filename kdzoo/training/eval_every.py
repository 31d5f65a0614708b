"""How often a run is evaluated where its config leaves that open: by what it costs."""

import math
from collections.abc import Mapping

from kdzoo.config import RunConfig

SHARE = 0.1
"""The most of a run's time that evaluation takes, but for the last epoch's."""

STEP_COST = 2.4
"""How many images are evaluated in the time in which one is trained on, at least: about 4 where
both are in fp32, and this many where the training is in bf16."""


def evaluation_interval(config: RunConfig, samples: Mapping[str, int]) -> int:
    """After how many epochs a run is evaluated each time.

    ``training.eval_every=auto`` follows from the config and the sizes of the splits, never from a
    clock, so that it is the same number whenever the run goes on, and wherever.

    Args:
        config: a run's.
        samples: of the splits, by name, before the config chooses some of them.
    """
    every = config.training.eval_every
    if every != "auto":
        return every
    trained, evaluated = _sizes(config, samples)
    return max(1, math.ceil(evaluated * (1 - SHARE) / SHARE / (STEP_COST * trained)))


def _sizes(config: RunConfig, samples: Mapping[str, int]) -> tuple[float, float]:
    """Images of an epoch, and of an evaluation."""
    chosen = config.dataset
    trained: float = samples["train"]
    evaluated: float = samples.get("val", samples["test"])
    if chosen.val_fraction:
        evaluated = chosen.val_fraction * trained
        trained -= evaluated
    if chosen.imbalance > 1:  # what exponentially falling classes keep
        trained *= (1 - 1 / chosen.imbalance) / math.log(chosen.imbalance)
    return min(trained, chosen.train_subset or math.inf), evaluated
