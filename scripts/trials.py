"""Write the tables of the pages on faults, other people's networks and speed, from the results of `benchmarks/`.

    python scripts/trials.py        (make trials)

A table stands between two marks of its page. What has no result says so. A test compares the pages with the results.
"""

import json
import sys
from pathlib import Path

import rates
import speeds

from dclib.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- trials: written by `make trials` -->\n", "<!-- /trials -->"
#: Words for the counts of a part; what is not among them is a number of a mutation's outcome and keeps its own words.
WORDS = {"seconds_of_a_calm_sweep": "seconds of a calm sweep", "seconds_of_the_slowest": "seconds of the slowest file"}


def newest(suite: str) -> dict | None:
    """The result file of a suite whose environment has the latest date; None where there is none."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(f"{suite}-*.json"))]
    return max(found, key=lambda content: json.dumps(content).count("date") and str(_dates(content)), default=None)


def _dates(content: dict) -> list[str]:
    environments = [content.get("environment", {}), *(p["environment"] for p in content.get("parts", {}).values())]
    return sorted((e["date"] for e in environments if "date" in e), reverse=True)


def faults(content: dict | None) -> str:
    """A list of what was counted for each trial, with machine, commit and date."""
    parts = (content or {"parts": {}})["parts"]
    lines = []
    for part in ("kills", "disk", "power", "mutations", "writers"):
        if part not in parts:
            lines += [f"**{part}**: *not run yet*; `python -m benchmarks.faults {part}` makes it.", ""]
            continue
        made_on = parts[part]["environment"]
        for entry in parts[part]["entries"]:
            counts = [
                (WORDS.get(key, key.replace("_", " ")), value)
                for key, value in entry.items()
                if key not in ("name", "fault")
            ]  # faults are listed, and counted by their list
            lines += [f"**{entry['name'][0].upper()}{entry['name'][1:]}**", "", "| | |", "|---|---:|"]
            lines += [f"| {word} | {_shown(value)} |" for word, value in counts]
            lines += [""]
        lines += [f"Made on {made_on['device']}, commit `{made_on['commit']}`, {made_on['date'][:10]}.", ""]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) if value and isinstance(value[0], str) else str(len(value))
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def zoo(content: dict | None) -> str:
    """For each library how many of its networks were tried, and a row for each: whether it works, or what was said."""
    if content is None:
        return "*Not run yet*; `make zoo` makes it.\n"
    lines = []
    for library, known in content["known"].items():
        networks = [n for n in content["networks"].values() if n["library"] == library]
        states = {state: sum(n["state"] == state for n in networks) for state in ("works", "refused", "fails", "not run")}
        said = ", ".join(f"{count} {words}" for words, count in _counted(states))
        rest = f"; the other {known - len(networks)} are not tried yet" if len(networks) < known else ""
        lines += [
            f"**{library}**: {len(networks)} of {known} networks tried: {said}{rest}.",
            "",
            "| network | result | filters | seconds | MB |",
            "|---|---|---:|---:|---:|",
            *(_network(n) for n in sorted(networks, key=lambda n: n["name"])),
            "",
        ]
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    return "\n".join([*lines, f"{versions}; {content['environment']['device']}, one thread.", ""])


def _counted(states: dict[str, int]) -> list[tuple[str, int]]:
    words = {"works": "works" if states["works"] == 1 else "work", "not run": "not run within the limits"}
    return [(words.get(state, state), count) for state, count in states.items() if count]


def _network(n: dict) -> str:
    why = (
        f"{n['state']} at *{n['step']}*: {_cell(n['why'])}"
        if "step" in n
        else (f"{n['state']}: {_cell(n['why'])}" if "why" in n else n["state"])
    )
    seconds = sum(n.get("seconds", {}).values())
    return (
        f"| `{n['name']}` | {why} | {n.get('filters', '–')} | {f'{seconds:.0f}' if seconds else '–'} | "
        f"{n.get('peak_megabytes', '–')} |"
    )


def _cell(text: str) -> str:
    """`text` for a cell of a table: as code, so that nothing in it is markup."""
    short = text if len(text) <= 160 else text[:157] + "..."
    return "`" + short.replace("|", "/").replace("`", "'") + "`"


#: What stands between the marks of each page.
PAGES = {
    ROOT / "book/faults.md": lambda: faults(newest("faults")),
    ROOT / "book/zoo.md": lambda: zoo(newest("zoo")),
    ROOT / "benchmarks/README.md": lambda: speeds.tables(RESULTS) + "\n" + rates.table(RESULTS),
}


def written(page: Path) -> str:
    """The page as the results have it now."""
    before, mark, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    assert mark, page
    return before + BEGIN + "\n" + PAGES[page]() + END + rest.partition(END)[2]


def main() -> int:
    for page in PAGES:
        write_whole(page, written(page).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
