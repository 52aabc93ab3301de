"""Markdown of a page: the same content, and nothing in a value is read as Markdown or HTML."""

from ray_mlops.reports import charts
from ray_mlops.reports.markdown import MOST_ROWS, as_markdown
from ray_mlops.reports.page import Chart, Facts, Link, Page, Rows, Section, Text


def markdown(*blocks) -> str:
    return as_markdown(Page("A title", "below", (Section("First", blocks),)))


def test_every_kind_of_block_is_there() -> None:
    drawn = Chart(charts.ranked([{"feature": "amount", "size": 2.5}], name="feature", value="size"), "Importance")
    text = markdown(Text("Careful.", "warning"), Facts({"Rows": 1234567}), Rows(("a", "b"), [("x", 1.5)], "Two"), drawn)
    assert text.startswith("# A title\n\nbelow\n\n## First\n")
    assert "> **Note.** Careful." in text and "- **Rows**: 1,234,567" in text
    assert "*Two*\n\n| a | b |\n|---|---:|\n| x | 1.5 |" in text
    assert "*Importance*" in text and "| amount | 2.5 |" in text


def test_what_stands_in_a_value_stays_a_value() -> None:
    text = markdown(Rows(("a|b",), [("<script>*x*</script>\n| y |",), (Link("see", "../a b(1).html"),)]))
    assert "| a\\|b |" in text and "<script>" not in text
    assert "| \\<script\\>\\*x\\*\\</script\\> \\| y \\| |" in text
    assert "[see](../a%20b(1%29.html)" in text


def test_a_long_table_is_cut_and_says_so() -> None:
    text = markdown(Rows(("n",), [(place,) for place in range(MOST_ROWS + 7)]))
    assert "7 more rows are not shown." in text and f"| {MOST_ROWS - 1} |" in text and f"| {MOST_ROWS} |" not in text
