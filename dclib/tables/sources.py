"""Where the numbers of a page come from: which profile is shown, its records, and the command that makes them."""

from dclib.experiments import in_words, profile, rows, stand_in
from dclib.experiments.profiles import PREFERRED
from dclib.results import Record, Store
from dclib.tables.accuracy import AUTHORS, NOT_RUN, collect
from dclib.tables.provenance import training


def source_line(target: str, profile_name: str, store: Store) -> str:
    """Where the numbers of a table or figure come from: profile, stand-in, trainings, data, seeds, commits, hardware, command."""
    p = profile(profile_name)
    described = [run for runs in rows(target, p).values() for run in runs]
    found = {run.id: record for run in described if (record := store.get(run))}
    records = list(found.values())
    command = "dclib authors PATH" if p.published else f"dclib run {target} --profile {profile_name}"
    if not records:
        return f"Profile {profile_name}: {NOT_RUN}; make it with `{command}`."
    environments = [record.environment for record in records]
    seeds = sorted({record.seed for record in records})
    trained = training([run for run in described if run.id in found], store)
    differs = "; ".join(filter(None, (in_words(stand_in(target, p)), trained)))
    data = sorted({f"{r.description['dataset']} {r.description['fingerprint'][:8]}" for r in records})
    return (
        f"Profile {profile_name}{f' ({differs})' if differs else ''}; data {', '.join(data)}; "
        f"{len(records)} record{'s' * (len(records) > 1)}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; "
        f"commit {', '.join(sorted({e['commit'] for e in environments}))}; "
        f"{', '.join(sorted({e['device'] for e in environments}))}; made with `{command}`."
    )


def published_profile(target: str, store: Store) -> str:
    """The one profile to show for a table or figure: the first of `PREFERRED` that has half of its rows, else most rows.

    So a few records of a larger profile do not push aside a whole table of a stand-in.
    """
    recorded = {}
    for name in PREFERRED:
        described = rows(target, profile(name)).values()
        recorded[name] = sum(any(store.get(run) for run in runs) for runs in described)
        if described and 2 * recorded[name] >= len(described):
            return name
    return max(recorded, key=recorded.get) if any(recorded.values()) else PREFERRED[-1]


def shown_records(target: str, label: str, store: Store) -> list[Record]:
    """The records of one row, a record per seed, at the `published_profile` of the whole target; empty if there is none.

    All rows of a table or figure come from one profile, so that they can be compared.
    """
    runs = rows(target, profile(published_profile(target, store))).get(label, ())
    return [record for run in runs if (record := store.get(run))]


def source_lines(target: str, store: Store) -> str:
    """`source_line` of what a page shows for a table and, while a stand-in is shown, how to make the real one.

    Last the authors' own networks, where the table has them.
    """
    name = published_profile(target, store)
    lines = [source_line(target, name, store)]
    if name != "paper":
        lines.append(source_line(target, "paper", store))
    missing = [row.own_name for row in collect(target, name, store) if not row.records]
    if missing and len(missing) < len(collect(target, name, store)):
        lines.insert(1, f"{NOT_RUN.capitalize()}: {', '.join(missing)}.")
    if target in profile(AUTHORS).targets:
        lines.append(source_line(target, AUTHORS, store))
    return " ".join(lines)
