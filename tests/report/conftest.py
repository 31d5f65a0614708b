"""What the reports' test files share."""

import csv
import io

import pytest
from hand_made import finish

from kdzoo.bench.matrix import read_matrix
from kdzoo.report.render.csv import csv_report

SPEC = """
title: Three methods
methods: [independent, one, mbde]
backbones: [resnet8]
datasets: [digits]
run: {epochs: 5}
ablations: [{of: mbde, label: no CD, method.regularizers: []}]
"""
STUDENTS = {
    "independent": [90.0, 91.0, 90.5],
    "one": [92.0, 92.5, 92.8],
    "mbde": [91.0, 91.2, 93.9],
    "no CD": [90.7, 91.9, 93.1],
}


@pytest.fixture
def spec(spec_file):
    path = spec_file(SPEC)
    for run in read_matrix(path).runs:
        finish(run.config, STUDENTS[run.method][run.seed])
    return path


@pytest.fixture
def students():
    """The accuracies of :func:`spec`'s runs, by row and seed."""
    return STUDENTS


@pytest.fixture
def lines_of():
    """A report's lines as its CSV file has them, by method."""

    def lines(report):
        return {line["method"]: line for line in csv.DictReader(io.StringIO(csv_report(report)))}

    return lines
