import pytest

from trg_pyg.report.content import Block, Section, Table
from trg_pyg.report.page import html_page, markdown_page

NAME = "<b onclick='x'>a|b`c`</b> [d](javascript:e)\n&amp;"
SECTION = Section(
    NAME, [Block("Results", [NAME], [Table("results", [["method", NAME], [NAME, "1.00"]], NAME)])], [NAME]
)


def test_every_text_of_a_page_is_escaped():
    page = html_page(NAME, [NAME], Table("studies", [["study"], [NAME]], NAME), [SECTION, SECTION], NAME)
    assert "<b" not in page.replace("<body>", "")
    assert "&amp;amp;" in page
    assert page.count("&lt;b onclick=&#x27;x&#x27;&gt;") > 10


def test_every_text_of_markdown_stays_in_its_cell():
    table = [line for line in markdown_page("title", [SECTION], "command").splitlines() if line.startswith("|")]
    name = "&lt;b onclick='x'>a\\|b\\`c\\`&lt;/b> [d]\\(javascript:e) &amp;"
    assert table[0] == f"| {'method'.ljust(len(name))} | {name} |"
    assert table[2] == f"| {name} | {'1.00'.ljust(len(name))} |"


@pytest.mark.parametrize("sections", [1, 2])
def test_the_overview_is_there_for_several_studies(sections):
    page = html_page("t", [], Table("studies", [["study"], ["x"]], "all of them"), [SECTION] * sections, "command")
    assert ("all of them" in page) == (sections > 1)
