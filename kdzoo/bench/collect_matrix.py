"""The runs of a spec, finished or left out, under its labels and in its order, for a report."""

from dataclasses import replace

from kdzoo.bench.matrix import Matrix, PlannedRun
from kdzoo.errors import UserError
from kdzoo.report.collect import Collection, ComparedMethod, sort_out
from kdzoo.report.labels import plain
from kdzoo.report.run_files import LeftOut, Run, read_run


def collect_matrix(matrix: Matrix) -> Collection:
    """The runs of a spec, whichever of them are finished."""
    spec = matrix.spec
    places = [
        (plain(dataset.label), plain(backbone.label))
        for dataset in spec.datasets
        for backbone in spec.backbones
    ]
    methods = [ComparedMethod(plain(row.label)) for row in spec.methods]
    ablations = [ComparedMethod(plain(row.label), plain(row.of)) for row in spec.ablations]
    runs, left_out = sort_out(map(_read_planned, matrix.runs))
    return Collection(places, methods + ablations, runs, left_out)


def _read_planned(planned: PlannedRun) -> Run | LeftOut:
    found = read_run(planned.folder)
    if isinstance(found, LeftOut):
        return found
    try:
        planned.folder.check(planned.config)
    except UserError as error:
        return LeftOut(planned.folder.path, "damaged", str(error))
    asked = (planned.config.method.name, planned.config.backbone_name, planned.seed)
    if (found.result.method, found.result.backbone, found.result.seed) != asked:
        return LeftOut(planned.folder.path, "damaged", "Its result.json is that of another run.")
    return replace(
        found,
        dataset=plain(planned.dataset),
        backbone=plain(planned.backbone),
        method=plain(planned.method),
    )
