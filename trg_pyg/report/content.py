"""What a report is made of, before it is a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = Sequence[Sequence[str]]


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


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: short, the same for the same table of other studies.
        rows: the titles, then the cells, as text.
        caption: what the figures are.
        folded: shown when it is asked for.
    """

    name: str
    rows: Rows
    caption: str = ""
    folded: bool = False


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
