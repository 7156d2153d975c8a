"""What faults cost: processes killed, disks full, power cut, files damaged or forged, writers side by side.

usage: python -m benchmarks.faults [kills|disk|power|mutations|writers ...] [--kills 100] [--full-disks 20] [--mutations 10000]

Each part writes its counts into one result file, beside what earlier calls wrote there. The sweep is that of five runs
of Table 3 in the smoke profile: every kind of run, a minute in all. A record is lost when it had been whole and is not there
any more; it is different when its description or its outcome is not that of a sweep which was left alone. A disk is
filled in a small file system of its own, which takes a Linux machine and its administrator; power cuts need strace.
"""

import argparse
import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks import measure, mutated_files
from benchmarks.power_cuts import calls_in, violations
from dclib.errors import InputError
from dclib.execution.environment import environment
from dclib.execution.runner import sweep
from dclib.experiments import Run, profile, queue
from dclib.results import Record, Store

METHODS = ("Baseline", "Finetune-1", "Algorithm 1", "Deepcorr-1")
#: Processes that start fast: one server imports dclib once and is forked for each of them.
CONTEXT = multiprocessing.get_context("forkserver")


def some_runs() -> list[Run]:
    return [run for run in queue(("table3",), profile("smoke")) if run.method in METHODS]


def work(folder: Path, said: Path | None = None) -> None:
    """Sweep until all is recorded. A sentence of refusal goes to `said`, with exit code 2, as the command line does it."""
    torch.set_num_threads(1)
    try:
        sweep(some_runs(), Store(folder), progress=False, say=lambda line: None)
    except InputError as error:
        if said is None:
            raise
        said.write_text(str(error))
        raise SystemExit(2) from error


def started(*arguments) -> multiprocessing.Process:
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def whole_records(folder: Path) -> dict[str, dict]:
    """The outcome of every record by its id; `InputError` for a damaged one."""
    return {record.id: record.outcome for record in Store(folder).records()}


class Watch:
    """Counts of records that were there and are not any more, or are different from those of a calm sweep."""

    def __init__(self, expected: dict[str, dict]) -> None:
        self.expected, self.seen, self.lost, self.different, self.damaged = expected, {}, 0, 0, 0

    def look(self, folder: Path) -> dict[str, dict]:
        try:
            found = whole_records(folder)
        except ValueError:
            self.damaged += 1
            return self.seen
        self.lost += len(self.seen.keys() - found.keys())
        self.different += sum(
            self.expected.get(key, outcome) != outcome for key, outcome in found.items() if key not in self.seen
        )
        self.seen = found
        return found

    def counts(self) -> dict:
        return {"records_lost": self.lost, "records_different": self.different, "records_damaged": self.damaged}


def calm(folder: Path) -> tuple[dict[str, dict], float]:
    """The outcomes of a sweep that is left alone, and how long it takes."""
    began = time.monotonic()
    process = started(folder)
    process.join()
    assert process.exitcode == 0
    return whole_records(folder), time.monotonic() - began


def kills(count: int, folder: Path) -> dict:
    """SIGKILL at random moments; where a sweep was faster, the next one begins anew.

    That records were there to be lost is counted too: a process that is killed before it has made anything shows nothing.
    """
    expected, length = calm(folder / "calm")
    moments, store, done, finished, watch = random.Random(0), folder / "killed", 0, 0, Watch(expected)
    exposed = 0
    while done < count:
        process = started(store)
        process.join(moments.uniform(0, 1.5 * length))
        killed = process.is_alive()
        if killed:
            process.kill()
            done += 1
        process.join()
        kept = watch.look(store)
        exposed += killed and bool(kept)
        if kept.keys() == expected.keys():
            finished += 1
            shutil.rmtree(store)
            watch.seen = {}
    last = started(store)
    last.join()
    complete = watch.look(store) == expected
    return {
        "name": "SIGKILL at random moments of a sweep",
        "kills": done,
        "kills_with_records_at_stake": exposed,
        "sweeps_ended_meanwhile": finished,
        "seconds_of_a_calm_sweep": round(length, 1),
        "complete_afterwards": complete,
        **watch.counts(),
    }


def full_disks(count: int, folder: Path) -> dict:
    """A file system that fills up at random moments of a sweep, and has room again before the next one."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        return {"name": "disk full", "not_run": "no file system of its own can be mounted here"}
    try:
        return _full_disks(count, folder, disk)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def _full_disks(count: int, folder: Path, disk: Path) -> dict:
    expected, length = calm(folder / "calm")
    moments, store, watch = random.Random(0), disk / "results", Watch(expected)
    sentences, others, unnoticed, left_behind, filled = 0, [], 0, 0, 0
    while filled < count:
        (folder / "said").write_text("")
        process = started(store, folder / "said")
        process.join(moments.uniform(0, 0.3 * length))
        _fill(disk / "filler")
        filled += 1
        process.join()
        said = (folder / "said").read_text().strip()
        if process.exitcode == 0:
            unnoticed += 1
        elif process.exitcode == 2 and "\n" not in said and "expected" in said and "No space left" in said:
            sentences += 1
        else:
            others.append({"exit_code": process.exitcode, "said": said[-500:]})
        left_behind += sum(1 for path in disk.rglob("*.partial"))
        (disk / "filler").unlink()
        if watch.look(store).keys() == expected.keys():
            shutil.rmtree(store)
            watch.seen = {}
    process = started(store, folder / "said")
    process.join()
    return {
        "name": "disk full at random moments of a sweep",
        "full_disks": filled,
        "ended_in_one_sentence": sentences,
        "ended_without_needing_room": unnoticed,
        "ended_otherwise": others,
        "partial_files_left": left_behind,
        "complete_afterwards": watch.look(store) == expected,
        **watch.counts(),
    }


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def power(folder: Path) -> dict:
    """The calls of a process that writes every kind of file that is kept: what a power cut between any two would leave."""
    if shutil.which("strace") is None:
        return {"name": "power cut", "not_run": "strace is not installed"}
    log = folder / "calls"
    calls = (
        "openat,creat,write,pwrite64,writev,ftruncate,mmap,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,close"
    )
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-s",
            "0",
            "-e",
            f"trace={calls}",
            "-o",
            str(log),
            sys.executable,
            "-m",
            "benchmarks.power_cuts",
            str(folder / "kept"),
        ],
        check=True,
    )
    seen = calls_in(log, folder / "kept")
    replaced = [call for call in seen if call.name == "rename"]
    return {
        "name": "power cut between any two calls",
        "calls": len(seen),
        "files_written_whole": len(replaced),
        "kinds": sorted({Path(call.path).suffix for call in replaced}),
        "violations": violations(seen),
    }


def mutations(count: int, folder: Path) -> list[dict]:
    """Each kind of file in a process of its own, with its own limit of memory."""
    entries = []
    for name in mutated_files.SUBJECTS:
        with ProcessPoolExecutor(1, mp_context=CONTEXT) as pool:
            found = pool.submit(mutated_files.run, name, folder / name, count // len(mutated_files.SUBJECTS)).result()
        entries.append(found | {"name": f"mutated {name}"})
    return entries


def write_often(folder: Path, number: int, each: int) -> None:
    store, run = Store(folder), some_runs()[0]
    for i in range(each):
        for seed in (0, 1 + number * each + i):  # one record that all write, and one that is this writer's own
            store.put(Record(run.description | {"seed": seed}, {"accuracy": [seed / 2**20]}, {}, {"writer": number}))


def writers(folder: Path, count: int = 8, each: int = 200) -> list[dict]:
    """Eight processes that put records into one store while it is read, and eight sweeps of the same runs."""
    processes = [CONTEXT.Process(target=write_often, args=(folder / "put", number, each)) for number in range(count)]
    for process in processes:
        process.start()
    looks, watch = 0, Watch({})
    while any(process.is_alive() for process in processes):
        watch.look(folder / "put")
        looks += 1
    found = watch.look(folder / "put")
    together = {
        "name": "records put into one store at once",
        "writers": count,
        "records": count * each + 1,
        "records_found": len(found),
        "looks_meanwhile": looks,
        "failed": sum(process.exitcode != 0 for process in processes),
        **watch.counts(),
    }
    expected, _ = calm(folder / "calm")
    sweeps = [started(folder / "shared") for _ in range(count)]
    for process in sweeps:
        process.join()
    watch = Watch(expected)
    same = watch.look(folder / "shared") == expected
    return [
        together,
        {
            "name": "sweeps of one store at once",
            "sweeps": count,
            "complete_afterwards": same,
            "failed": sum(process.exitcode != 0 for process in sweeps),
            **watch.counts(),
        },
    ]


def keep(part: str, entries: list[dict]) -> Path:
    """Put the entries of a part into the result file of this machine, in place of its earlier ones."""
    made_on = environment("cpu")
    path = measure.FOLDER / measure.file_name("faults", made_on)
    content = json.loads(path.read_text()) if path.exists() else {"suite": "faults", "parts": {}}
    content["parts"][part] = {"environment": made_on, "entries": entries}
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(entries, indent=1))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["kills", "disk", "power", "mutations", "writers"])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--full-disks", type=int, default=20)
    parser.add_argument("--mutations", type=int, default=10_000)
    options = parser.parse_args()
    CONTEXT.set_forkserver_preload(["dclib.execution.runner", "torch._dynamo", "benchmarks.mutated_files"])
    parts = {
        "kills": lambda f: [kills(options.kills, f)],
        "disk": lambda f: [full_disks(options.full_disks, f)],
        "power": lambda f: [power(f)],
        "mutations": lambda f: mutations(options.mutations, f),
        "writers": writers,
    }
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            keep(part, parts[part](Path(folder)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a file system that was mounted is let go
    main()
