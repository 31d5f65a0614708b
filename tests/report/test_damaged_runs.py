"""What is not a whole, finished run is named and left out of a report."""

import json

import pytest

from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import make_report


@pytest.mark.parametrize(
    "content",
    [
        '{"method": "one", "last": {"student"',
        "",
        "[1, 2]",
        '"text"',
        '{"accuracy": 0.9}',
        '{"last": {"student": {"top1": NaN}}}',
    ],
)
def test_a_broken_or_foreign_result_is_named_and_left_out(spec, tmp_path, kdzoo, content, lines_of):
    run = next(run for run in read_matrix(spec).runs if run.method == "mbde")
    run.folder.result.write_text(content)
    report, _ = make_report(spec)
    assert lines_of(report)["mbde"]["n"] == "2"
    (left_out,) = report.left_out
    assert (left_out.state, left_out.folder) == ("damaged", run.folder.path)
    done = kdzoo("report", str(spec))
    assert done.code == 0
    assert run.folder.path.name in done.out
    assert "1 damaged or foreign" in done.out
    page = (tmp_path / "report-spec" / "report.html").read_text()
    assert str(run.folder.path) in page


def test_a_result_of_another_run_is_left_out(spec, lines_of):
    one, other = [run for run in read_matrix(spec).runs if run.method == "one"][:2]
    one.folder.result.write_bytes(other.folder.result.read_bytes())
    report, _ = make_report(spec)
    assert [out.folder for out in report.left_out] == [one.folder.path]
    assert "do not belong together" in report.left_out[0].reason
    assert lines_of(report)["one"]["n"] == "2"


@pytest.mark.parametrize("damage", ["half", "a line fewer", "a figure", "no records", "missing"])
def test_a_run_with_damaged_metrics_is_named_and_left_out(spec, damage, lines_of):
    run = read_matrix(spec).runs[0]
    whole = run.folder.metrics.read_text()
    damaged = {
        "half": whole[: len(whole) // 2],
        "a line fewer": "".join(whole.splitlines(keepends=True)[:-1]),
        "a figure": whole.replace("0.5", "0.6"),
        "no records": "[]\nnull\n" * 5,
    }
    if damage == "missing":
        run.folder.metrics.unlink()
    else:
        run.folder.metrics.write_text(damaged[damage])
    report, _ = make_report(spec)
    assert lines_of(report)["independent"]["n"] == "2"
    (left_out,) = report.left_out
    assert left_out.state == "damaged"
    assert str(run.folder.metrics) in left_out.reason


@pytest.mark.parametrize("figure", ["1e308", "1" + "0" * 400, "9" * 5000, "NaN", '"97"', "-1"])
@pytest.mark.parametrize("sealed", [True, False])
def test_an_odd_figure_is_named_and_left_out(spec, figure, sealed):
    run = read_matrix(spec).runs[0]
    result = run.folder.read_result()
    if not sealed:  # as results of earlier versions are
        del result["sha256"]
    result["last"]["student"]["top1"] = 12345
    run.folder.result.write_text(json.dumps(result).replace("12345", figure))
    report, _ = make_report(spec)
    assert [out.state for out in report.left_out] == ["damaged"]
    assert str(run.folder.result) in report.left_out[0].reason


def test_a_result_beside_another_config_is_left_out(spec):
    run = read_matrix(spec).runs[0]
    text = run.folder.config.read_text()
    run.folder.config.write_text(text.replace("batch_size: ", "batch_size: 1"))
    (left_out,) = make_report(run.folder.path.parent)[0].left_out
    assert "another config" in left_out.reason
