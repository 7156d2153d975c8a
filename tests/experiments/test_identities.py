"""No run of any profile gets another identity by accident: moving code, renaming classes or adding fields keeps records.

Where a profile's runs were changed on purpose, `python tests/experiments/test_identities.py` writes the new values.
"""

import hashlib
import json
from pathlib import Path

import pytest

from dclib.experiments import PROFILES, TARGETS, profile, queue

PINNED = Path(__file__).parents[1] / "data/identities.json"


def identities(name):
    """How many runs a profile has, over all of its seeds, and the SHA-256 of their sorted ids."""
    ids = sorted(run.id for run in queue(TARGETS, profile(name)))
    return {"runs": len(ids), "sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest()}


@pytest.mark.parametrize("name", PROFILES)
def test_runs_keep_their_identities(name):
    assert identities(name) == json.loads(PINNED.read_text(encoding="utf-8"))[name], (
        "other runs than before; if that is meant, write the new values with `python tests/experiments/test_identities.py`"
    )


if __name__ == "__main__":
    PINNED.write_text(json.dumps({name: identities(name) for name in PROFILES}, indent=1) + "\n", encoding="utf-8")
