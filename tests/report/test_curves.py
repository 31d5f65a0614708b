"""The learning curves of one run: the figures of its epochs, drawn and printed."""

import json
import re

import pytest
from hand_made import read_records
from PIL import Image

from kdzoo.cli.chart import chart


def test_the_curves_are_the_epochs_of_the_run(finished, kdzoo):
    run = finished(90.0, method="one", curve=7)
    found = json.loads(kdzoo("curves", str(run.path), "--json").out)
    records = read_records(run)
    expected = [[one["epoch"], one["eval"]["student"]["top1"]] for one in records]
    assert found["accuracy"]["student"] == expected
    peers = [[one["top1"] for one in record["eval"]["peers"]] for record in records]
    means = [sum(one) / len(one) for one in peers]
    assert [value for _, value in found["accuracy"]["mean peer"]] == pytest.approx(means)
    assert found["accuracy"]["student, training"] == [[one, 90.0] for one in range(1, 8)]
    assert found["loss"] == [[one, 1.0] for one in range(1, 8)]
    assert found["split"] == "test"


def test_an_unfinished_run_has_curves_too(finished, kdzoo, tmp_path):
    run = finished(90.0, method="independent", curve=1)
    run.result.unlink()
    done = kdzoo("curves", str(run.path), "--to", str(tmp_path / "c.png"))
    assert done.code == 0
    assert "student: " in done.out
    assert "after epoch 1" in done.out
    assert max(map(len, done.out.splitlines()[2:-1])) <= 80
    assert Image.open(tmp_path / "c.png").width > 800


def test_the_picture_says_what_its_curves_are(finished, kdzoo, tmp_path):
    run = finished(90.0, method="one")
    assert kdzoo("curves", str(run.path), "--to", str(tmp_path / "c.svg")).code == 0
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", (tmp_path / "c.svg").read_text())
    assert {"accuracy on test, %", "loss", "epoch", "student", "mean peer", "ensemble"} <= set(
        texts
    )


@pytest.mark.parametrize("name", ["c.jpg", "c"])
def test_a_picture_of_another_kind_is_refused(finished, kdzoo, tmp_path, name):
    done = kdzoo("curves", str(finished(90.0, method="one").path), "--to", str(tmp_path / name))
    assert done.code == 2
    assert "NAME.svg or NAME.png" in done.err


def test_what_has_no_curves_says_why(finished, kdzoo, tmp_path):
    assert "it is no run folder" in kdzoo("curves", str(tmp_path)).err
    run = finished(90.0, method="one")
    run.metrics.unlink()
    assert f"{run.metrics} cannot be read" in kdzoo("curves", str(run.path)).err
    run.result.unlink()  # now it is not finished
    assert "no epoch of it is done yet" in kdzoo("curves", str(run.path)).err
    run.metrics.write_text("nonsense\n")
    done = kdzoo("curves", str(run.path))
    assert done.code == 2
    assert "cannot be read as JSON" in done.err


def test_a_chart_puts_each_value_where_it_belongs():
    lines = chart({"a": [(1, 0.0), (5, 10.0)], "b": [(1, 10.0), (5, 0.0)]}, width=14, height=3)
    assert [line[:4] for line in lines] == ["10 |", "   |", " 0 |", "    "]
    assert lines[0].startswith("10 |b")
    assert lines[0].endswith("a")
    assert lines[2].startswith(" 0 |a")
    assert lines[2].endswith("b")
    assert "a" in lines[1]
    assert lines[-1].split() == ["1", "5"]
    assert {len(line) for line in (lines[0], lines[2], lines[3])} == {14}


def test_a_chart_of_one_point_or_one_value():
    assert any("s" in line for line in chart({"s": [(3, 2.0)]}, width=30))
    flat = chart({"s": [(1, 2.0), (9, 2.0)]}, width=30, height=4)
    assert sum("s" in line for line in flat) == 1
