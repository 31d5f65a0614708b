"""One published run is carried out again, and what comes of it is judged."""

import json

import pytest
from hand_made import write_unsealed

SETTINGS = ("method=one", "backbone=resnet8", "training.steps=4", "training.threads=1")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The report of three seeds, made once; tests change copies of it."""
    from kdzoo.cli.bench import make_report
    from kdzoo.compose import compose
    from kdzoo.report.write import write_report
    from kdzoo.training.run import train

    folder = tmp_path_factory.mktemp("published")
    for seed in (0, 1, 2):
        train(compose([*SETTINGS, f"seed={seed}", f"out={folder / 'runs'}"]))
    write_report(make_report(folder / "runs")[0], folder / "report")
    return folder


@pytest.fixture
def verify(published, kdzoo, tmp_path):
    """Verifies seed 1 after a change to what was published of each run."""

    def command(*arguments, change=lambda run: None):
        results = json.loads((published / "report" / "results.json").read_text())
        for run in results["runs"]:
            change(run)
        results["sections"] = None  # a change may be one of a label
        write_unsealed(tmp_path / "results.json", results)
        return kdzoo("verify", str(tmp_path), f"out={tmp_path / 'again'}", *arguments)

    return command


def _shift(points):
    """Publishes another accuracy, of another student."""

    def change(run):
        if run["result"]["seed"] == 1:
            run["result"]["last"]["student"]["top1"] += points
            run["result"]["student"]["sha256"] = "0" * 64

    return change


def test_the_same_run_is_the_same_to_the_byte(verify):
    found = verify("--seed", "1")
    assert found.code == 0
    assert "digits / resnet8 / one / seed 1" in found.out
    assert "byte by byte" in found.out
    assert "+0.00" in found.out
    again = verify("--seed", "1")  # a finished repetition is not taken for a new one
    assert "is finished" not in again.out
    assert again.code == 0


def _embellish(figure, by):
    def change(run):
        last = run["result"]["last"]
        (last["diversity"] if figure == "l2" else last["student"])[figure] *= by

    return change


@pytest.mark.parametrize(("figure", "by"), [("top1", 1.2), ("nll", 0.97), ("l2", 1.03)])
def test_figures_that_are_not_the_students_are_not_confirmed(verify, figure, by):
    found = verify("--seed", "1", change=_embellish(figure, by))
    assert found.code == 1
    said = " ".join(found.out.split())
    assert (
        "the same weights, byte by byte, but the figures that were published are not theirs" in said
    )


def _invent(where, value):
    """Publishes another value than the run has there, and not the weights' checksum."""

    def change(run):
        *path, last = where.split(".")
        place = run
        for key in path:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value
        run["result"]["student"]["sha256"] = None

    return change


@pytest.mark.parametrize(
    ("where", "value", "shown"),
    [
        ("result.best.epoch", 7, "best epoch"),
        ("result.best.student.top1", 99.5, "best student top1"),
        ("result.student.params", 123, "student params"),
        ("result.student.macs", 456, "student macs"),
        ("result.training_params", 789, "training params"),
        ("result.test_size", 10_000, "test size"),
        ("result.epochs", 300, "epochs"),
        ("curve.0.student", 98.5, "curve epoch 1 student"),
    ],
)
def test_every_published_figure_is_compared(verify, where, value, shown):
    found = verify("--seed", "1", "--json", change=_invent(where, value))
    assert found.code == 1
    result = json.loads(found.out)
    assert not result["same_figures"]
    assert (shown, value) in [(one["name"], one["published"]) for one in result["figures"]]


@pytest.mark.parametrize("checksum", [True, False])
def test_where_the_last_epoch_is_equal_so_is_the_best_to_the_last_digit(verify, checksum):
    def change(run):
        run["result"]["best"]["student"]["top1"] += 0.01
        if not checksum:
            del run["result"]["student"]["sha256"]

    found = verify("--seed", "1", change=change)
    assert (found.code, "best student top1" in found.out) == (1, True)


def test_what_differs_is_shown_and_figures_are_the_same_without_a_checksum(verify):
    invented = verify("--seed", "1", change=_invent("result.training_params", 789))
    assert "training params" in invented.out
    assert "others that were published are not this run's" in " ".join(invented.out.split())
    true = verify("--seed", "1", change=lambda run: run["result"]["student"].pop("sha256"))
    assert (true.code, "The same figures;" in true.out) == (0, True)


@pytest.mark.parametrize("figure", ["test_repeats", "curve"])
def test_what_earlier_versions_did_not_publish_is_not_compared(verify, figure):
    def change(run):
        run.pop(figure, None)
        run["result"].pop(figure, None)

    assert verify("--seed", "1", change=change).code == 0


def test_the_run_itself_is_not_replaced(verify, published):
    before = {path: path.read_bytes() for path in (published / "runs").rglob("result.json")}
    found = verify("--seed", "1", f"out={published / 'runs'}")
    assert (found.code, "is the very run that is to be verified" in found.err) == (2, True)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_what_is_published_holds_no_place_of_the_machine(published):
    assert str(published) not in (published / "report" / "results.json").read_text()


def _scattered(points):
    """Publishes another accuracy of seed 1, and 50.0 and 50.2 % of the others."""

    def change(run):
        _shift(points)(run)
        if run["result"]["seed"] != 1:
            run["result"]["last"]["student"]["top1"] = 50.0 + run["result"]["seed"] / 10

    return change


def test_the_other_seeds_say_how_far_apart_two_runs_may_be(verify):
    # Of 50.0 and 50.2 s = 0.2 / sqrt(2), so t(1) s sqrt(2) = 12.706 x 0.2.
    found = verify("--seed", "1", change=_scattered(2))
    assert found.code == 0
    assert "It agrees: the students are 2.00 points apart" in found.out
    assert "allow 2.54 between two runs" in found.out


def test_another_student_as_good_has_the_same_parameters_and_a_best_epoch_as_good(verify):
    def other_size(run):
        _scattered(2)(run)
        run["result"]["student"]["params"] += 1

    found = verify("--seed", "1", change=other_size)
    assert found.code == 1
    assert "what no rounding changes differs: student params" in " ".join(found.out.split())

    def other_best(run):
        _scattered(2)(run)
        run["result"]["best"]["student"]["top1"] += 3

    found = verify("--seed", "1", change=other_best)
    assert found.code == 1
    assert "in their best epochs they are 3.00 points apart" in " ".join(found.out.split())


def test_a_figure_that_does_not_come_out_is_said(verify):
    found = verify("--seed", "1", change=_scattered(3))
    assert found.code == 1
    assert "It does not agree: the students are 3.00 points apart" in found.out
    assert "-3.00" in found.out


def test_too_few_seeds_give_no_spread(verify):
    def change(run):
        _shift(0.5)(run)
        run["labels"]["method"] += str(run["result"]["seed"] // 2)

    found = verify("--method", "one0", "--seed", "1", change=change)
    assert found.code == 1
    assert "too few other seeds" in found.out


def test_a_finished_run_is_verified_by_its_folder(published, kdzoo, tmp_path):
    run = next((published / "runs").rglob("seed0-*"))
    found = kdzoo("verify", str(run), f"out={tmp_path}")
    assert found.code == 0
    assert "byte by byte" in found.out


def test_several_runs_are_listed(verify):
    found = verify()
    assert found.code == 2
    assert "There are 3 such runs" in found.err
    assert "digits / resnet8 / one / seed 0" in found.err
    assert verify("--seed", "7").code == 2


@pytest.mark.parametrize("override", ["lr=0.5", "dataset.train_subset=100", "backbone=resnet14"])
def test_another_run_is_refused_by_the_setting(verify, override):
    found = verify("--seed", "1", override)
    assert found.code == 2
    assert "another run" in found.err
    assert override.split("=")[0].split(".")[-1] in found.err


def test_other_data_are_refused(verify):
    def change(run):
        run["identity"]["data"]["splits"]["train"]["images"] = "0" * 16

    found = verify("--seed", "1", change=change)
    assert found.code == 2
    assert "data was" in found.err


def test_a_setting_that_did_not_exist_yet_stands_at_its_default(verify):
    found = verify(
        "--seed", "1", change=lambda run: run["identity"]["settings"]["training"].pop("clip_norm")
    )
    assert found.code == 0


def test_a_setting_that_is_not_known_here_is_refused(verify):
    found = verify("--seed", "1", change=lambda run: run["identity"]["settings"].update(magic=3))
    assert found.code == 2
    assert "magic" in found.err


@pytest.mark.parametrize("content", ["[1]", "{}", "[{}]", "no json", '[{"labels": 3}]'])
def test_a_foreign_file_is_refused(kdzoo, tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    found = kdzoo("verify", str(tmp_path))
    assert found.code == 2
    assert "results.json" in found.err
    assert "Traceback" not in found.err


def test_results_without_identities_are_refused(verify):
    found = verify("--seed", "1", change=lambda run: run.pop("identity"))
    assert found.code == 2
    assert "did not keep what a run was" in found.err


def test_a_table_without_runs_has_nothing_to_verify(kdzoo, tmp_path):
    (tmp_path / "results.json").write_text("[]")
    found = kdzoo("verify", str(tmp_path))
    assert found.code == 2
    assert "holds no runs" in found.err


def test_a_folder_of_runs_names_one_of_them(kdzoo, finished, tmp_path):
    run = finished(90.0, method="one")
    found = kdzoo("verify", str(tmp_path))
    assert found.code == 2
    assert "is a folder of runs" in found.err
    assert str(run.path) in found.err
