"""Make the students' version of every notebook: the same source, the solutions taken out.

    python scripts/worksheets.py --output worksheets

Where a solution stood, its own checks are left as comments: an exercise is done when they hold. With --repository, a
first cell fetches the project, as Colab needs it.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

import nbformat
from execute import Failed, page_names, read_source

ROLES = re.compile(r"\{(?:doc|ref|term|py:\w+|cite:\w)\}`(?:([^`<]+?) <[^`>]*>|([^`]*))`")
ADMONITION = re.compile(r"^:::+\{admonition\} (.*)\n(?::class:.*\n)?", re.MULTILINE)


def worksheet(notebook: nbformat.NotebookNode, repository: str | None = None) -> nbformat.NotebookNode:
    """A copy of a text notebook without its solutions and without the book's own markup."""
    made = nbformat.from_dict(notebook)
    made.cells = [blank(cell) for cell in made.cells]
    if repository:
        fetch = (
            f"!git clone --quiet --depth 1 https://github.com/{repository} project\n%cd project\n"
            "%pip install --quiet -e .[repro]"
        )
        made.cells.insert(0, nbformat.v4.new_code_cell(fetch))
    for number, cell in enumerate(made.cells, start=1):
        cell.id = f"cell-{number}"
    return made


def blank(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A cell for students: a solution becomes its checks, text loses the markup that only the book understands."""
    if cell.cell_type == "markdown":
        cell.source = plain(cell.source)
    elif "hide-cell" in cell.metadata.get("tags", []):
        checks = "\n".join(f"# {line}" for check in checks_of(cell.source) for line in check.splitlines())
        cell.source = f"# Your solution. In the authors' own, these checks hold:\n{checks}\n"
    return cell


def checks_of(code: str) -> list[str]:
    """The assertions of a solution that stand on their own, outside of functions."""
    found, waiting = [], list(ast.parse(code).body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Assert):
            found.append(ast.get_source_segment(code, node))
        elif isinstance(node, (ast.For, ast.If, ast.With)):
            waiting = node.body + waiting
    return found


def plain(markdown: str) -> str:
    """Markdown without roles and directives."""
    text = ADMONITION.sub(lambda found: f"**{found[1]}**\n\n", markdown)
    text = re.sub(r"^:::+$\n?", "", text, flags=re.MULTILINE)
    return ROLES.sub(lambda found: f"`{found[1] or found[2]}`", text)


def main(arguments: list[str] | None = None) -> int:
    """Write one worksheet per page of the book; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the worksheets")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="on GitHub; adds a cell that fetches the project")
    options = parser.parse_args(arguments)
    try:
        names = page_names()
        options.output.mkdir(parents=True, exist_ok=True)
        for name in names:
            nbformat.write(worksheet(read_source(name), options.repository), options.output / f"{name}.ipynb")
    except (Failed, OSError) as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"{len(names)} worksheets are in {options.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
