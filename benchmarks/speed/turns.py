"""Contestants that take turns: after each stretch of kdzoo's run come the others."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from kdzoo.training.display import Silent


class Turns:
    """Times stretches of a run, and between them what the others do.

    Args:
        others: what each other contestant does for a turn, by its name.
        warm_up: turns that do not count.
        device: which is waited for before a clock is read.
    """

    def __init__(self, others: Mapping[str, Callable[[], None]], warm_up: int, device: str) -> None:
        self.others = list(others.items())
        self.warm_up = warm_up
        self.device = device
        self.seconds: dict[str, list[float]] = {name: [] for name in ("kdzoo", *others)}
        self.cpu_seconds: dict[str, list[float]] = {name: [] for name in self.seconds}
        self.start()

    def start(self) -> None:
        """A stretch begins."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.started = time.perf_counter(), time.process_time()

    def stop(self, name: str) -> None:
        """A stretch of the contestant of that name is over."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds[name].append(time.perf_counter() - self.started[0])
        self.cpu_seconds[name].append(time.process_time() - self.started[1])

    def pass_on(self) -> None:
        """A stretch of kdzoo's run is over: time it, then let the others have theirs."""
        self.stop("kdzoo")
        for name, act in self.others:
            self.start()
            act()
            self.stop(name)
        self.others.reverse()  # nobody always follows the same one
        self.start()

    def summary(self, per_turn: int) -> dict[str, dict[str, float]]:
        """For each contestant the mean, median and minimum, of the clock and of this process's CPU
        time (which leaves out what other programs and the data loader's workers take).

        Args:
            per_turn: how many steps or epochs a turn has.
        """
        figures: dict[str, Callable[[list[float]], float]] = {
            "mean": statistics.fmean,
            "median": statistics.median,
            "min": min,
        }
        return {
            name: {
                clock + figure: summarize(seconds[name][self.warm_up :]) / per_turn
                for clock, seconds in (("", self.seconds), ("cpu_", self.cpu_seconds))
                for figure, summarize in figures.items()
            }
            for name in self.seconds
        }


class AfterSteps(Silent):
    """The display of a run in which a turn is ``count`` steps; time between epochs is nobody's."""

    def __init__(self, turns: Turns, count: int) -> None:
        self.turns, self.count, self.done = turns, count, 0

    def step(self, tally: Any) -> None:
        self.done += 1
        if self.done == self.count:
            self.turns.pass_on()
            self.done = 0

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        self.done = 0
        self.turns.start()


class AfterEpochs(Silent):
    """The display of a run in which a turn is an epoch with its evaluation and checkpoint."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        self.turns.pass_on()
