"""A report: what it is made of, as one HTML page that needs nothing else, and as Markdown."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trg_pyg._program import markdown_table
from trg_pyg.viz.figure import to_svg

Rows = Sequence[Sequence[str]]

_IN_MARKDOWN = ("Results", "Unfinished runs")  # titles of the blocks that it has


@dataclass(frozen=True)
class Picture:
    """A figure and what it shows, in words.

    Attributes:
        name: short, its own within the study, and the same for the same picture of other studies.
        figure: of matplotlib.
        alt: what can be seen, for those who do not see it.
    """

    name: str
    figure: Any
    alt: str

    @property
    def source(self) -> str:
        """The picture as the address of an image: names of clip paths within it cannot meet those of another."""
        return f"data:image/svg+xml;base64,{b64encode(to_svg(self.figure).encode()).decode()}"

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height on a page."""
        width, height = self.figure.get_size_inches()
        return round(96 * width), round(96 * height)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: short, the same for the same table of other studies.
        rows: the titles, then the cells, as text.
        caption: what the figures are.
        folded: shown when it is asked for.
        words: its cells are words rather than figures.
    """

    name: str
    rows: Rows
    caption: str = ""
    folded: bool = False
    words: bool = False


@dataclass(frozen=True)
class Block:
    """A part of a study's section.

    Attributes:
        title: its heading.
        lines: paragraphs of plain text.
        tables: shown after the lines.
        pictures: shown after the tables, side by side.
        listing: commands, shown as they are typed.
    """

    title: str
    lines: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    listing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A study's part of the report.

    Attributes:
        title: data and pair.
        blocks: in order; the first has the table of results.
        commands: that made its runs.
    """

    title: str
    blocks: list[Block]
    commands: list[str]


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: of the page.
        lines: paragraphs of plain text below it.
        overview: tables of several sections.
        sections: one a study.
        command: that made the report.
    """

    title: str
    lines: list[str]
    overview: list[Table]
    sections: list[Section]
    command: str

    def html(self) -> str:
        """Return the page. It has no script, and loads nothing."""
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
        )
        return environment.get_template("page.html.jinja").render(page=self)

    def markdown(self) -> str:
        """Return the tables of results with what has to be known of them."""
        parts = [f"# {_plain(self.title)}", f"    {self.command}"]
        for table in self.overview:
            parts += [_plain(table.caption), _markdown(table)]
        for section in self.sections:
            parts.append(f"## {_plain(section.title)}")
            for block in section.blocks:
                if block.title in _IN_MARKDOWN:
                    parts += [_plain(line) for line in block.lines]
                    parts += [_markdown(table) for table in block.tables]
            parts.append("\n".join(f"    {line}" for line in section.commands))
        return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(table: Table) -> str:
    return markdown_table([[_plain(cell) for cell in row] for row in table.rows])


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    text = " ".join(text.split())
    for sign in "\\|`*":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("](", "]\\(").replace("<", "&lt;")
