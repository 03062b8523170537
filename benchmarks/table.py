"""Tables as text for the terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

NUMERIC = re.compile(r"^[-<>≥≤~]?([\d.,]+|inf)( ?(%|x|ms|MiB|B|/s))?$|^-?$")


@dataclass(frozen=True)
class Table:
    """A title, columns, rows of ready text, and what the reader must know."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def is_numeric(self, index: int) -> bool:
        """Whether a column is set to the right."""
        return index > 0 and all(NUMERIC.match(row[index]) for row in self.rows)


def without_empty_columns(table: Table) -> Table:
    """The table less the columns that have nothing in any row."""
    kept = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return Table(table.title, [table.columns[i] for i in kept], rows, table.notes)


def as_text(table: Table) -> str:
    """For the terminal: columns of equal width."""
    table = without_empty_columns(table)
    widths = [max(len(name), *(len(row[i]) for row in table.rows)) for i, name in enumerate(table.columns)]

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.rjust(widths[i]) if table.is_numeric(i) else cell.ljust(widths[i]) for i, cell in enumerate(cells)
        ]
        return "  ".join(parts).rstrip()

    ruler = "  ".join("-" * width for width in widths)
    body = [line(table.columns), ruler, *map(line, table.rows)]
    return "\n".join([table.title, "", *("  " + text for text in (*body, *table.notes)), ""])


def as_markdown(table: Table, level: int = 3) -> str:
    """For a page."""
    table = without_empty_columns(table)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    ruler = "|" + "|".join("---:" if table.is_numeric(i) else "---" for i in range(len(table.columns))) + "|"
    body = [line(table.columns), ruler, *map(line, table.rows)]
    notes = [f"\n{text}" for text in table.notes]
    return "\n".join([f"{'#' * level} {table.title}", "", *body, *notes, ""])
