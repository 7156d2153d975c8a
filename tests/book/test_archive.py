"""The archive for a repository: its metadata, read as plain JSON, tells of every published record how it was made."""

import hashlib
import json
import logging

import pytest
from support import ROOT, refused

pytest.importorskip("rocrate", reason="the extra archive is not installed")
pytest.importorskip("rocrate_validator", reason="the extra archive is not installed")

import archive  # noqa: E402

from dclib.experiments import profile, rows  # noqa: E402
from dclib.results import Store  # noqa: E402


@pytest.fixture(scope="module")
def crate(tmp_path_factory):
    """An unpacked archive of this checkout with a book of one page."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "html").mkdir()
    (folder / "html/index.html").write_text("<title>The book</title>")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "HTML", folder / "html")
        patch.setattr(archive, "sources", lambda to: (to / "sources.zip").write_bytes(b"zip") and "c" * 40)
        archive.filled(folder).write(folder / "crate")
    return folder / "crate"


def graph(crate):
    return {entity["@id"]: entity for entity in json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]}


def first(found):
    """JSON-LD writes a list of one as it likes."""
    return (found[0] if isinstance(found, list) else found)["@id"]


def test_every_record_has_the_action_that_made_it(crate):
    entities = graph(crate)
    actions = {first(e["result"]): e for e in entities.values() if e["@type"] == "CreateAction"}
    kept = {f"records/{path.name}" for path in (crate / "records").iterdir()}
    assert set(actions) == kept and len(kept) > 20
    mentioned = {found["@id"] for found in entities["./"]["mentions"]}
    assert mentioned == {action["@id"] for action in actions.values()}
    for name in kept:
        record = json.loads((crate / name).read_text())
        action = actions[name]
        assert action["endTime"] == record["environment"]["date"] and action["instrument"] == {"@id": "#dclib"}
        assert record["environment"]["commit"] in action["description"]
        assert record["environment"]["device"] in action["description"]
        data = entities[first(action["object"])]
        assert record["description"]["fingerprint"] in data["identifier"]


def test_command_of_a_record_is_one_that_makes_it(crate):
    (run, *_) = rows("table3", profile("small"))["Finetune-1"]
    assert archive.commands()[run.id] == "dclib run table3 --profile small"
    assert graph(crate)[f"#run-{run.id}"]["description"].startswith("dclib run table3 --profile small; ")


def test_files_are_those_of_the_project_and_have_their_sums(crate):
    files = {name: e for name, e in graph(crate).items() if e["@type"] == "File" and "sha256" in e}
    assert {"requirements.lock", "constraints.txt", "LICENSE", "LICENSES.md", "sources.zip", "book/index.html"} <= set(files)
    for name, entity in files.items():
        content = (crate / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entity["sha256"] and len(content) == int(entity["contentSize"])
    for name in ("requirements.lock", "LICENSE"):
        assert (crate / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the validator's own
def test_rules_see_what_is_missing(crate, tmp_path):
    """By the validator, where its vocabulary is at hand."""
    try:
        assert archive.faults_of(crate) == []
    except archive.InputError as error:
        pytest.skip(str(error))
    whole = json.loads((crate / "ro-crate-metadata.json").read_text())
    for entity in whole["@graph"]:
        if entity["@id"] == "./":
            del entity["license"], entity["datePublished"]
    (tmp_path / "ro-crate-metadata.json").write_text(json.dumps(whole))
    assert archive.faults_of(tmp_path)


def test_others_may_warn_again_afterwards(tmp_path, caplog):
    with pytest.raises(Exception):  # no crate at all
        archive.faults_of(tmp_path / "none")
    logging.getLogger("others").warning("of something")
    assert "of something" in caplog.text


def test_without_a_book_or_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "HTML", tmp_path)
    with refused("make book"):
        archive.filled(tmp_path)
    monkeypatch.setattr(archive, "ROOT", tmp_path)
    with refused("git checkout"):
        archive.sources(tmp_path)


def test_records_are_those_that_git_tracks(crate):
    from front import tracked

    published = tracked() or {record.id for record in Store(ROOT / "data/results").records()}
    assert {path.stem for path in (crate / "records").iterdir()} == published
