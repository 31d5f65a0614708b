"""The runs of a spec, as a report wants them."""

from dataclasses import replace

from kdzoo.bench.matrix import Cell, Matrix
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
    runs, left_out = sort_out(map(_read_cell, matrix.cells))
    return Collection(places, methods + ablations, runs, left_out)


def _read_cell(cell: Cell) -> Run | LeftOut:
    found = read_run(cell.folder)
    if isinstance(found, LeftOut):
        return found
    try:
        cell.folder.check(cell.config)
    except UserError as error:
        return LeftOut(cell.folder.path, "damaged", str(error))
    asked = (cell.config.method.name, cell.config.backbone_name, cell.seed)
    if (found.result.method, found.result.backbone, found.result.seed) != asked:
        return LeftOut(cell.folder.path, "damaged", "Its result.json is that of another run.")
    return replace(
        found,
        dataset=plain(cell.dataset),
        backbone=plain(cell.backbone),
        method=plain(cell.method),
    )
