"""The report's page in a browser: it sorts, it shows its plots, and it asks for nothing."""

import pytest
from hand_made import finish

from kdzoo.bench.matrix import read_matrix
from kdzoo.cli.bench import make_report
from kdzoo.report.write import write_report

STUDENTS = {"independent": 90.0, "one": 92.0, "<script>document.title='hit'</script>": 91.0}
SPEC = """
methods:
  - independent
  - one
  - {label: "<script>document.title='hit'</script>", method: mbde}
backbones: [resnet8]
datasets: [digits]
seeds: [0, 1]
"""


@pytest.fixture(scope="module")
def page_of_a_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = folder / "spec.yaml"
    path.write_text(f"out: {folder}\n{SPEC}")
    for run in read_matrix(path).runs:
        finish(run.config, STUDENTS[run.method] + run.seed)
    write_report(make_report(path)[0], folder / "report")
    return folder / "report" / "report.html"


@pytest.fixture
def opened(browser, page_of_a_report):
    """The page, with all that it asked for and complained about."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(page_of_a_report.as_uri())
    yield page
    page.close()


def _column(page, number):
    cells = page.locator("table").first.locator(f"tbody tr > :nth-child({number})")
    return cells.all_inner_texts()


def test_a_click_sorts_the_table_and_another_turns_it_round(opened):
    student = opened.get_by_role("button", name="student %").first
    heading = opened.locator("table").first.locator("thead th:nth-child(3)")
    student.click()
    assert [text.split(" ")[0] for text in _column(opened, 3)] == ["92.50", "91.50", "90.50"]
    assert heading.get_attribute("aria-sort") == "descending"
    student.click()
    assert [text.split(" ")[0] for text in _column(opened, 3)] == ["90.50", "91.50", "92.50"]
    assert heading.get_attribute("aria-sort") == "ascending"
    opened.get_by_role("button", name="method").first.click()
    assert _column(opened, 1) == sorted(STUDENTS, key=str.casefold)
    assert heading.get_attribute("aria-sort") is None


def test_empty_cells_stay_last(opened):
    ensemble = opened.get_by_role("button", name="ensemble %").first
    for _ in range(2):
        ensemble.click()
        assert _column(opened, 6)[-1] == "\N{EN DASH}"


def test_the_keyboard_sorts_too(opened):
    opened.get_by_role("button", name="student %").first.focus()
    opened.keyboard.press("Enter")
    assert _column(opened, 1)[0] == "one"


def test_the_plots_are_drawn(opened):
    plots = opened.locator(".plot svg")
    assert plots.count() == 4
    for index in range(4):
        box = plots.nth(index).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 150
    lines = opened.locator(".plot").first.locator("g.series path")
    assert lines.count() >= 3
    assert lines.first.bounding_box()["width"] > 50
    assert "student accuracy on test, %" in opened.locator(".plot svg").first.text_content()


def test_pointing_at_a_method_makes_it_stand_out(opened):
    opened.locator(".plot").nth(2).locator("text", has_text="one").last.hover()
    assert opened.locator(".plots.pointing").count() == 1
    lit = opened.locator(".plot").first.locator("g.series.pointed title").all_text_contents()
    assert lit
    assert all("one" in text for text in lit)


def test_nothing_is_asked_of_the_network_and_no_name_is_run(opened):
    assert len(opened.asked) == 1
    assert opened.asked[0].startswith("file:")
    assert opened.complaints == []
    assert opened.title() == "spec"
    assert "<script>document.title='hit'</script>" in _column(opened, 1)


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_never_scrolls_sideways(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    wide = opened.evaluate("document.documentElement.scrollWidth")
    assert wide <= width


def test_dark_and_light_differ(opened):
    def colors():
        ask = "getComputedStyle(document.body)"
        return opened.evaluate(f"[{ask}.color, {ask}.backgroundColor]")

    opened.emulate_media(color_scheme="light")
    light = colors()
    opened.emulate_media(color_scheme="dark")
    assert not set(light) & set(colors())


@pytest.mark.parametrize("width", [400, 1400])
def test_bands_lie_within_the_axes(opened, width):
    """Each band of the learning curves against the rectangle that it would be cut off at."""
    opened.set_viewport_size({"width": width, "height": 900})
    apart = opened.evaluate(
        """() => {
            const plot = document.querySelector('.plot svg');
            const box = plot.querySelector('clipPath rect').getBBox();
            return [...plot.querySelectorAll('g.series path[clip-path], g.series use')].map(
                one => one.closest('g.series').getBBox()
            ).filter(one => one.y < box.y - 1).length;
        }"""
    )
    assert apart == 0


def test_a_wide_table_shows_that_it_scrolls(opened):
    opened.set_viewport_size({"width": 400, "height": 900})
    table = opened.locator(".scroll").first
    assert table.evaluate("one => one.scrollWidth > one.clientWidth")
    shadow = table.evaluate("one => getComputedStyle(one).backgroundImage")
    assert shadow.count("linear-gradient") == 2
    assert table.evaluate("one => getComputedStyle(one).scrollbarWidth") == "thin"
