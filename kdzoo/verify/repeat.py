"""Trains a published run again."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import stdev
from typing import Any

from scipy import stats

from kdzoo import registry
from kdzoo.component import validate
from kdzoo.compose import merge_all, parse_override
from kdzoo.config import RunConfig
from kdzoo.errors import ConfigError, UserError
from kdzoo.files import read_json
from kdzoo.report.results_file import KeptRun
from kdzoo.report.statistics import CONFIDENCE
from kdzoo.training.display import Display
from kdzoo.training.result import Result, check_figures
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.run_identity import (
    CONTENT,
    RunIdentity,
    identify,
    settings_identity,
    without_places,
)
from kdzoo.verify.comparison import Verification
from kdzoo.verify.published import kept_in

OUT = "runs/verify"
"""Where the new run goes by default: not where the old one may still be."""


def repeat(
    kept: KeptRun, row: Sequence[KeptRun], overrides: Sequence[str], display: Display
) -> Verification:
    """Train a published run again.

    Args:
        kept: the run.
        row: all runs of its row, for the spread over the other seeds.
        overrides: ``KEY=VALUE`` of settings that say where and how, such as ``dataset.root`` or
            ``device``; by default as many CPU threads as then, and a folder of its own.
        display: what a person sees of it.

    Raises:
        UserError: the run does not say what it was, or cannot be carried out here as it was: a
            setting is another one, the data, the network or other people's code have changed, or
            the run itself lies where the new one is to go.
    """
    if kept.identity is None:
        raise UserError(
            f"{kept} was published by a version of kdzoo that did not keep what a run was. Only "
            "kdzoo bench with the spec behind the table carries it out again."
        )
    config, then = _as_it_was(kept, overrides)
    splits = registry.datasets.get(config.dataset.name)(config.dataset).load()
    now = identify(config, splits)
    different = now.differences(then)
    if different:
        listed = "; ".join(f"{name} was {value}" for name, value in different.items())
        raise UserError(f"This would be another run than {kept}: {listed}.")
    folder = RunFolder.of(config, now)
    if folder.is_finished:  # by an earlier verification
        if check_figures(Result, folder.read_result(), str(folder.result)) == kept.result:
            raise UserError(
                f"{folder.path} is the very run that is to be verified, which would be replaced. "
                "Choose another folder with out=DIR."
            )
        config = config.model_copy(update={"resume": "never"})
    folder = train(config, display)
    return Verification(
        kept,
        kept_in(folder.path)[0],
        folder,
        _ran_on(kept.environment, read_json(folder.environment)),
        _spread(row, kept),
    )


def _as_it_was(kept: KeptRun, overrides: Sequence[str]) -> tuple[RunConfig, RunIdentity]:
    """The run's config with the overrides, and the identity that it is to have."""
    try:
        then = RunIdentity.from_json(kept.identity)
        method = dict(then.settings["method"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"What {kept} was, its identity, cannot be read.") from None
    # In place of a file's path stands what was in it; where it lies now, an override says.
    held = {key for key, one in method.items() if isinstance(one, dict) and one.keys() == {CONTENT}}
    settings: dict[str, Any] = {
        **then.settings,
        "method": {key: value for key, value in method.items() if key not in held},
    }
    threads = kept.environment.get("threads")
    places = {"out": OUT, "training": {"threads": threads}} if threads else {"out": OUT}
    try:
        was = validate(RunConfig, settings)
        config = validate(RunConfig, merge_all([settings, places, *map(parse_override, overrides)]))
    except ConfigError as error:
        raise UserError(f"{kept} cannot be carried out like that: {error}") from None
    # Settings that have come since stand at their defaults.
    filled = {
        **settings_identity(was),
        "method": {**was.identity()["method"], **_only(method, held)},
    }
    return config, replace(then, settings=without_places(filled, then))


def _only(settings: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: settings[key] for key in keys}


def _ran_on(then: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[str, str]]:
    names = [name for name in then.keys() | now.keys() if name not in ("packages", "system")]
    pairs = {name: (str(then.get(name)), str(now.get(name))) for name in sorted(names)}
    packages = [one.get("packages") for one in (then, now)]
    before, after = (one if isinstance(one, dict) else {} for one in packages)
    pairs |= {name: (str(before.get(name)), str(after.get(name))) for name in sorted(before)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _spread(row: Sequence[KeptRun], kept: KeptRun) -> float | None:
    """Over the other seeds, so that a wrong figure does not vouch for itself."""
    seed = kept.result.seed
    students = [run.result.last.student.top1 for run in row if run.result.seed != seed]
    if len(students) < 2:
        return None
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(students) - 1))
    return t * stdev(students) * 2**0.5
