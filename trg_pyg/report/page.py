"""A report as one HTML page that needs nothing else, and as Markdown."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from trg_pyg._program import markdown_table
from trg_pyg.report.content import Block, Picture, Section, Table
from trg_pyg.viz.figure import to_svg

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b626b; --paper: #fff; --line: #d9dde2; --shade: #f5f6f8;
  --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a2a9b2; --paper: #16181b; --line: #363b42;
  --shade: #1f2226; --link: #7db7ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 2px solid var(--line);
  overflow-wrap: anywhere; }
h3 { font-size: 1.08rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 48rem; overflow-wrap: anywhere; }
a { color: var(--link); }
nav ul { margin: .2rem 0; padding-left: 1.2rem; }
nav li { margin: .15rem 0; overflow-wrap: anywhere; }
nav li li { display: inline; }
nav li li:not(:last-child)::after { content: " · "; color: var(--soft); }
nav ul ul { padding-left: 0; font-size: .92rem; }
.scroll { overflow-x: auto; width: fit-content; max-width: 100%; margin: .8rem 0; border: 1px solid var(--line);
  border-radius: 6px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .5rem .65rem; color: var(--soft); }
th, td { padding: .35rem .65rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--shade); vertical-align: bottom; font-weight: 600; }
tbody th { font-weight: 600; background: var(--paper); }
.figures td, .figures thead th:not(:first-child) { white-space: nowrap; text-align: right; }
.figures th:first-child { position: sticky; left: 0; max-width: 15rem; overflow-wrap: anywhere; min-width: 7.5rem; }
.words td { overflow-wrap: anywhere; min-width: 8rem; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; margin: .8rem 0; }
.panels img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: .3rem; }
pre { margin: .5rem 0; padding: .6rem .8rem; background: var(--shade); border-radius: 6px; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--soft); font-size: .88rem; }
.made { font-size: .85rem; }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; font-size: 15px; } .figures th:first-child {
  max-width: 8rem; min-width: 6rem; } th, td { padding: .3rem .5rem; } }
@media print { body { max-width: none; } nav { display: none; } .panels img { break-inside: avoid; }
  .scroll { overflow: visible; border: 0; } table { font-size: .75rem; } }
"""
# Tables whose cells are words rather than figures.
_WORDS = ("methods", "differences", "common", "studies")


def html_page(title: str, lines: Sequence[str], overview: Table, sections: Sequence[Section], command: str) -> str:
    """Return the page. It has no script, and loads nothing.

    Args:
        title: of the page.
        lines: paragraphs of plain text below it.
        overview: a row for each section, in their order, the first cell its title.
        sections: one a study.
        command: that made the report.
    """
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in lines),
        f"<pre>{escape(command)}</pre>",
        _contents(sections),
        _table(overview) if len(sections) > 1 else "",
        *(_section(number, section, command) for number, section in enumerate(sections, 1)),
    ]
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>"
    )
    inside = "\n".join(part for part in body if part)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{inside}\n</body>\n</html>\n'


def _contents(sections: Sequence[Section]) -> str:
    items = []
    for number, section in enumerate(sections, 1):
        inner = "".join(
            f'<li><a href="#{_anchor(number, i)}">{escape(block.title)}</a></li>'
            for i, block in enumerate(section.blocks, 1)
        )
        items.append(f'<li><a href="#{_anchor(number)}">{escape(section.title)}</a><ul>{inner}</ul></li>')
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def _anchor(section: int, block: int | None = None) -> str:
    return f"study-{section}" if block is None else f"study-{section}-{block}"


def _section(number: int, section: Section, command: str) -> str:
    blocks = "\n".join(_block(number, i, block, section, command) for i, block in enumerate(section.blocks, 1))
    return f'<section>\n<h2 id="{_anchor(number)}">{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(number: int, place: int, block: Block, section: Section, command: str) -> str:
    parts = [f'<h3 id="{_anchor(number, place)}">{escape(block.title)}</h3>']
    parts += [f"<p>{escape(line)}</p>" for line in block.lines]
    parts += [_table(table) for table in block.tables]
    if block.pictures:
        parts.append(f'<div class="panels">{"".join(map(_picture, block.pictures))}</div>')
    if block.listing:
        parts.append(f"<pre>{escape(chr(10).join(block.listing))}</pre>")
    elif block.tables or block.pictures:
        made = escape("\n".join([*section.commands, command]))
        parts.append(f'<details class="made"><summary>Made by</summary><pre>{made}</pre></details>')
    return "\n".join(parts)


def _table(table: Table) -> str:
    head, *rows = table.rows
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    kind = "words" if table.name in _WORDS else "figures"
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption and not table.folded else ""
    text = (
        f'<div class="scroll" tabindex="0"><table class="{kind}">{caption}\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
    if not table.folded:
        return text
    return f"<details><summary>{escape(table.caption)}</summary>{text}</details>"


def _picture(picture: Picture) -> str:
    """Return a picture as an image: names of clip paths within one cannot meet those of another."""
    data = b64encode(to_svg(picture.figure).encode()).decode()
    width, height = (round(96 * inches) for inches in picture.figure.get_size_inches())
    alt = escape(picture.alt, quote=True)
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{alt}" width="{width}" height="{height}">'


def markdown_page(title: str, sections: Sequence[Section], command: str) -> str:
    """Return the tables of results with what has to be known of them.

    Args:
        title: of the report.
        sections: one a study.
        command: that made the report.
    """
    parts = [f"# {_plain(title)}", f"    {command}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        for block in section.blocks:
            if block.title not in ("Results", "Unfinished runs"):
                continue
            parts += [_plain(line) for line in block.lines]
            parts += [markdown_table([[_plain(cell) for cell in row] for row in table.rows]) for table in block.tables]
        parts.append("\n".join(f"    {line}" for line in section.commands))
    return "\n\n".join(part for part in parts if part) + "\n"


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    text = " ".join(text.split())
    for sign in "\\|`*":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("](", "]\\(").replace("<", "&lt;")
