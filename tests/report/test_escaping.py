"""Whatever a thing is called appears as that text in every format."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hand_made import finish
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from kdzoo.compose import compose
from kdzoo.report.cells import difference
from kdzoo.report.collect import Collection, ComparedMethod
from kdzoo.report.labels import LONGEST_LABEL, one_line, plain
from kdzoo.report.plots import report_plots
from kdzoo.report.render.csv import csv_report
from kdzoo.report.render.html import html_report
from kdzoo.report.render.latex import SPECIAL, as_latex, latex_report
from kdzoo.report.render.latex import escape as latex_escape
from kdzoo.report.render.markdown import escape as markdown_escape
from kdzoo.report.render.markdown import markdown_report
from kdzoo.report.render.terminal import TerminalReport
from kdzoo.report.run_files import LeftOut, read_run
from kdzoo.report.statistics import Difference
from kdzoo.report.summary import Presentation, summarise

NASTY = [
    r"$\alpha$ of $\nothing$",
    "<script>alert(1)</script>",
    "a & b < c > d \"e\" 'f'",
    "50% of $x_1^2$ #1 {~} \\input{/etc/passwd}",
    "[bold]red[/bold] *em* _em_ `code` ~~gone~~ | cell",
    "</title><img src=x onerror=alert(1)>",
    "![image](http://example.com) <b>",
    "&lt;script&gt;",
    "--- ``quoted'' ?`",
    "C # ,, :smile: http://x.y www.x.y #12",
    plain(" a\u202eb\u200bc\n# d\x1b[31m\r "),
    plain("long " * 400),
]
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).map(plain)


@pytest.mark.parametrize(
    ("found", "n", "latex"),
    [
        (Difference(1.76, None, None, 2), 2, "$+1.76$ (too few seeds)"),
        (Difference(-1.76, -3.0, 0.5, 2), 3, "$-1.76$ (too few seeds) ($n=2$)"),
        (Difference(1.76, 1.0, 2.52, 3), 4, r"$+1.76\;[+1.00,\,+2.52]^{*}$ ($n=3$)"),
    ],
)
def test_latex_sets_figures_as_formulas_and_remarks_as_text(found, n, latex):
    assert as_latex(difference(found, 2, n)) == latex


@given(NAMES)
@example(NASTY[3])
@example(NASTY[8])
def test_latex_sets_every_character_as_itself(name):
    escaped = latex_escape(name)
    characters = {written: character for character, written in SPECIAL.items()}
    tokens = "|".join(re.escape(written) for written in sorted(characters, key=len, reverse=True))
    parts = re.split(f"({tokens})", escaped)
    rest = "".join(part for part in parts if part not in characters).replace("{}", "")
    assert not set(rest) & set('\\{}$&#%_^~<>|"`')
    assert not re.search("--|''", escaped)
    assert escaped[0] not in "[*"
    assert "".join(characters.get(part, part.replace("{}", "")) for part in parts) == name


@given(NAMES)
@example(NASTY[1])
@example(NASTY[4])
@example(NASTY[7])
def test_markdown_shows_every_name_in_a_table(name):
    source = f"| {markdown_escape(name)} | 1 |\n|:--|--:|\n| {markdown_escape(name)} | 2 |\n"
    html = (
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(source)
    )
    cells = Cells.of(html)
    assert cells == [name, "1", name, "2"]


@settings(max_examples=30)
@given(NAMES)
@example("=cmd()")
def test_csv_gives_names_back_and_no_formula(report_of, name):
    (line,) = csv.DictReader(io.StringIO(csv_report(report_of(name))))
    assert line["method"].removeprefix("'") == name.removeprefix("'")
    assert line["method"][0] not in "=+-@"


@pytest.mark.parametrize("name", NASTY)
def test_every_format_shows_nasty_names_as_text(report_of, name):
    report = report_of(name)
    plots = report_plots(report)
    page = html_report(report, plots)
    assert name in Cells.of(page)
    assert Tags.of(page).count("script") == 1
    assert "img" not in Tags.of(page)
    assert name in Cells.of(MarkdownIt().enable("table").render(markdown_report(report, plots[0])))
    assert latex_escape(name) in latex_report(report)
    for plot in plots[0]:
        texts = [element.text for element in ElementTree.fromstring(plot.svg).iter()]
        assert any(name in (text or "") for text in texts), plot.key
    console = Console(file=io.StringIO(), width=300)
    console.print(TerminalReport(report))
    assert name in console.file.getvalue()


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "a\u200b"), ("a", " a"), ("a b", "a  b"), ("a\nb", "a b"), ("x" * 999, "x" * 998)],
)
def test_names_that_differ_stay_different_and_are_short_and_visible(one, other):
    assert plain(one) != plain(other)
    for name in (one, other):
        assert plain(name).isprintable()
        assert 0 < len(plain(name)) <= LONGEST_LABEL


def test_markdown_of_a_page_that_makes_links_and_emoji_of_text():
    assert markdown_escape("# :a: http://x www.x #1 b: c") == (
        "&#35; &#58;a: http&#58;//x www&#46;x &#35;1 b: c"
    )


def test_titles_splits_messages_and_folders_stay_in_their_line(report_of, tmp_path):
    report = report_of("one")
    section = report.sections[0]
    nasty = "t\n# heading\n\n<b>\u202e\x1b[31m"
    (row,) = section.methods
    (run,) = row.runs
    best = run.result.best.model_copy(update={"split": nasty})
    run = replace(run, result=run.result.model_copy(update={"best": best}))
    lost = LeftOut(tmp_path / "a\n# b", "damaged", nasty)
    place = (section.dataset, section.backbone)
    found = Collection({place: [ComparedMethod("one")]}, "one", [run], [lost])
    again = summarise(found, Presentation(title=nasty))
    texts = [markdown_report(again), latex_report(again), html_report(again, [[]])]
    console = Console(file=io.StringIO(), width=300)
    console.print(TerminalReport(again))
    for text in (*texts, console.file.getvalue()):
        assert "\n# heading" not in text
        assert "\n# b" not in text
        assert "\u202e" not in text
        assert "\x1b[31m" not in text
    shown = plain(nasty)
    assert again.title == shown
    assert f"best {shown} epoch %" in Cells.of(texts[2])
    assert one_line(nasty) in console.file.getvalue()


@pytest.fixture(scope="module")
def report_of(tmp_path_factory):
    """A report with one method of a given name, on data and backbone of that name too."""
    out = tmp_path_factory.mktemp("runs")
    run = read_run(finish(compose(settings={"out": str(out), "method": "one"}), 90.0))

    def make(name):
        named = replace(run, dataset=name, backbone=name, method=name)
        found = Collection({(name, name): [ComparedMethod(name)]}, name, [named], [])
        return summarise(found, Presentation(title=name))

    return make


class Cells(HTMLParser):
    """The texts of a page's table cells."""

    def __init__(self):
        super().__init__()
        self.cells = []
        self.depth = 0

    @classmethod
    def of(cls, html):
        parser = cls()
        parser.feed(html)
        return ["".join(cell) for cell in parser.cells]

    def handle_starttag(self, tag, attributes):
        if tag in ("td", "th"):
            self.cells.append([])
            self.depth = 1

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.depth = 0

    def handle_data(self, data):
        if self.depth:
            self.cells[-1].append(data)


class Tags(HTMLParser):
    """The names of a page's elements."""

    def __init__(self):
        super().__init__()
        self.tags = []

    @classmethod
    def of(cls, html):
        parser = cls()
        parser.feed(html)
        return parser.tags

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
