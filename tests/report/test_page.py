import re

import pytest

from trg_pyg.report.page import Block, Page, Picture, Section, Table

NAME = "<b onclick='x'>a|b`c`</b> [d](javascript:e)\n&amp; \"{{ page }}"
TABLE = Table("results", [["method", NAME], [NAME, "1.00"]], NAME)


@pytest.fixture
def page() -> Page:
    """A page on which every text is a name that nobody should use."""
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(2, 1))
    block = Block(NAME, [NAME], [TABLE], [Picture(NAME, figure, NAME)])
    folded = Table("common", TABLE.rows, NAME, folded=True)
    section = Section(NAME, [block, Block("Results", [NAME], [folded]), Block(NAME, listing=[NAME])], [NAME])
    return Page(NAME, [NAME], [TABLE], [section], NAME)


def test_every_text_of_a_page_is_escaped(page):
    html = page.html()
    assert html.startswith("<!DOCTYPE html>\n")
    assert "<b " not in html
    escaped = "&lt;b onclick=&#39;x&#39;&gt;a|b`c`&lt;/b&gt; [d](javascript:e)\n&amp;amp; &#34;{{ page }}"
    # Title and heading, command, lines, contents, headings, alt, tables, two commands below each, listing.
    assert html.count(escaped) == html.count("onclick") == 2 + 1 + 3 + 3 + 3 + 1 + 3 * 3 + 2 * 2 + 1


def test_every_text_of_markdown_stays_in_its_cell(page):
    table = [line for line in page.markdown().splitlines() if line.startswith("|")]
    name = "&lt;b onclick='x'>a\\|b\\`c\\`&lt;/b> [d]\\(javascript:e) &amp; \"{{ page }}"
    assert table[0] == f"| {'method'.ljust(len(name))} | {name} |"
    assert table[2] == f"| {name} | {'1.00'.ljust(len(name))} |"


def test_no_word_of_a_cell_is_broken(page):
    style = page.html().partition("<style>")[2].partition("</style>")[0]
    rules = [rule for rule in style.split("}") if "overflow-wrap" in rule or "word-break" in rule]
    assert rules
    assert not [
        rule
        for rule in rules
        if re.search(r"\b(t[dhr]|table|body|html)\b|\.figures|\.words|\*", rule.partition("{")[0])
    ]


def test_tables_stand_beside_their_pictures(page):
    block = page.html().split('<div class="block">')[1]
    told, pictures = block.index('<div class="told">'), block.index('<div class="panels">')
    assert told < block.index("<table") < block.index("</table>") < pictures < block.index("<img")
