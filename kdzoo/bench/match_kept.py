"""Which run of a spec each kept run is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kdzoo.bench.kept import Kept
from kdzoo.bench.matrix import PlannedRun
from kdzoo.errors import UserError
from kdzoo.report.labels import plain
from kdzoo.report.run_files import LeftOut, Run
from kdzoo.training.run_identity import RunIdentity, settings_identity


@dataclass(frozen=True)
class Matches:
    """What became of the kept runs.

    Attributes:
        found: for each run of the spec, the kept one under the spec's labels, or None.
        left_out: the others.
    """

    found: list[Run | None]
    left_out: list[LeftOut]


def match_kept(
    kept: Kept, runs: Sequence[PlannedRun], known: Sequence[RunIdentity | None]
) -> Matches:
    """Match by all of the identity: settings, data, networks and code.

    Where the data of a run are not at hand (nothing is downloaded), its settings have to do, if
    they leave one kept run for it, and no other run of the spec for that.

    Args:
        kept: what is kept.
        runs: the spec's.
        known: their identities, as far as they are known.
    """
    candidates = [
        _candidates(run, identity, kept.runs) for run, identity in zip(runs, known, strict=True)
    ]
    certain = Counter(id(run) for one in candidates if one.checked for run in one.runs)
    guessed = Counter(id(run) for one in candidates if not one.checked for run in one.runs)

    def choose(one: _Candidates) -> Run | None:
        free = [run for run in one.runs if one.checked or id(run) not in certain]
        asked = certain if one.checked else guessed
        return free[0] if len(free) == 1 and asked[id(free[0])] == 1 else None

    chosen = [choose(one) for one in candidates]
    matched = {id(run) for run in chosen if run is not None}
    left_out = [
        LeftOut(run.folder, "unmatched", _why(run, bool(certain[id(run)] or guessed[id(run)])))
        for run in kept.runs
        if id(run) not in matched
    ]
    found: list[Run | None] = []
    for planned, run in zip(runs, chosen, strict=True):
        if run is not None and not _is_result_of(planned, run):
            why = f"{run}: its result is that of another run than its identity."
            left_out.append(LeftOut(run.folder, "damaged", why))
            run = None
        found.append(run and _labelled(run, planned))
    return Matches(found, left_out)


@dataclass(frozen=True)
class _Candidates:
    """The kept runs that a run may be, and whether data, networks and code were looked at."""

    runs: Sequence[Run]
    checked: bool


def _candidates(
    planned: PlannedRun, identity: RunIdentity | None, kept: Sequence[Run]
) -> _Candidates:
    if identity is not None:
        text = identity.text()
        return _Candidates([one for one in kept if one.identity_text == text], checked=True)
    try:
        settings = settings_identity(planned.config)
    except UserError:  # such as a teacher that is not here
        return _Candidates([], checked=False)
    alike = [one for one in kept if one.identity and one.identity.settings == settings]
    if not alike:
        return _Candidates([], checked=False)
    try:
        text = planned.identities.at_hand(planned.config).text()
    except UserError:
        return _Candidates(alike, checked=False)
    return _Candidates([one for one in alike if one.identity_text == text], checked=True)


def _is_result_of(planned: PlannedRun, run: Run) -> bool:
    asked = (planned.config.method.name, planned.config.backbone_name, planned.seed)
    return (run.result.method, run.result.backbone, run.result.seed) == asked


def _labelled(run: Run, planned: PlannedRun) -> Run:
    return replace(
        run,
        dataset=plain(planned.dataset),
        backbone=plain(planned.backbone),
        method=plain(planned.method),
    )


def _why(run: Run, is_asked_for: bool) -> str:
    if run.identity is None:
        return f"{run} does not say what it was trained on."
    if is_asked_for:
        return f"{run} may be one of several runs; which one, the data would tell."
    return f"{run} is no run of this spec."
