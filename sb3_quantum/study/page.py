"""Pages of text, tables and pictures, as Markdown and HTML."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sb3_quantum.common.durable import write_text

#: style sheet, for print and for light and dark themes
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.9em; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border: 1px solid #8888; padding: 0.25rem 0.6rem; text-align: left; }
img { max-width: 100%; background: #fff; }
code, pre { font-size: 0.9em; }
@media print { body { margin: 0; max-width: none; } table { display: table; } }
"""


@dataclass
class Page:
    """
    A page, built block by block. Text may contain `code` and **bold**, as in Markdown.

    :param title: title of the page
    """

    title: str
    _blocks: list[tuple[str, Any]] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """
        Add a heading.

        :param text: the heading
        """
        self._blocks.append(("heading", text))

    def text(self, text: str) -> None:
        """
        Add a paragraph.

        :param text: the paragraph; ignored if empty
        """
        if text:
            self._blocks.append(("text", text))

    def items(self, texts: Sequence[str]) -> None:
        """
        Add a list.

        :param texts: the items; ignored if empty
        """
        if texts:
            self._blocks.append(("items", list(texts)))

    def code(self, lines: Sequence[str]) -> None:
        """
        Add commands.

        :param lines: one or more commands
        """
        self._blocks.append(("code", list(lines)))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """
        Add a table.

        :param head: names of the columns
        :param rows: cells; ignored without rows
        """
        if rows:
            self._blocks.append(("table", (list(head), [list(row) for row in rows])))

    def picture(self, name: str, text: str) -> None:
        """
        Add a picture.

        :param name: name of the file, beside the page
        :param text: description of the picture
        """
        self._blocks.append(("picture", (name, text)))

    def markdown(self) -> str:
        """
        Render the page as Markdown.

        :return: Markdown
        """
        parts = [f"# {self.title}"]
        for kind, value in self._blocks:
            if kind == "heading":
                parts.append(f"## {value}")
            elif kind == "text":
                parts.append(str(value))
            elif kind == "items":
                parts.append("\n".join(f"- {text}" for text in value))
            elif kind == "code":
                parts.append("\n".join(f"    {line}" for line in value))
            elif kind == "picture":
                name, text = value
                parts.append(f"![{text}]({name})")
            else:
                head, rows = value
                lines = [head, ["---"] * len(head), *rows]
                parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines))
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """
        Render the page as HTML.

        :return: HTML, self-contained except for its pictures
        """
        parts = []
        for kind, value in self._blocks:
            if kind == "heading":
                parts.append(f"<h2>{_inline(str(value))}</h2>")
            elif kind == "text":
                parts.append(f"<p>{_inline(str(value))}</p>")
            elif kind == "items":
                parts.append("<ul>" + "".join(f"<li>{_inline(text)}</li>" for text in value) + "</ul>")
            elif kind == "code":
                parts.append("<pre>" + html.escape("\n".join(value)) + "</pre>")
            elif kind == "picture":
                name, text = value
                parts.append(f'<p><img src="{html.escape(name)}" alt="{html.escape(text)}"></p>')
            else:
                head, rows = value
                lines = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in rows)
                titles = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
                parts.append(f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>")
        title = html.escape(self.title)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style></head>\n'
            f"<body><h1>{title}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
        )

    def write(self, folder: Path) -> Path:
        """
        Write the page in both forms.

        :param folder: folder of ``index.html`` and ``README.md``
        :return: the HTML file
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "README.md", self.markdown())
        write_text(folder / "index.html", self.html())
        return folder / "index.html"


def _inline(text: str) -> str:
    """Convert Markdown's code and bold to HTML; everything else stays unchanged."""
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)
