"""Damaged and forged records are refused in one sentence, or seen."""

import base64
import json
import zlib

import numpy as np
import pytest
from support import BASE, RANKING, check_sentence, listing, record_of, refused

from dclib.errors import InputError
from dclib.results import Record, pack_bits

WHOLE = record_of().to_json()


def body(**changes):
    return json.dumps(json.loads(WHOLE) | changes)


DAMAGED = {
    "empty": "",
    "half": WHOLE[: len(WHOLE) // 2],
    "without its last brace": WHOLE.rstrip()[:-1],
    "two records": WHOLE + WHOLE,
    "a digit": WHOLE.replace("1.5", "2.5", 1),
    "accuracy": body(outcome=record_of(seed=3).outcome),
    "description": body(description=RANKING.description),
    "id": body(id="0" * 16),
    "checksum": body(checksum="0" * 64),
    "checksum of another kind": body(checksum=5),
    "schema": body(schema=99),
    "no schema": json.dumps({k: v for k, v in json.loads(WHOLE).items() if k != "schema"}),
    "a key more": body(note="better"),
    "a key less": json.dumps({k: v for k, v in json.loads(WHOLE).items() if k != "cost"}),
    "list": "[1, 2]",
    "list of records": f"[{WHOLE}]",
    "number": "3.5",
    "word": '"record"',
    "null": "null",
    "deep": "[" * 100_000,
    "a number of thousands of digits": "9" * 6000,
    "no seed": Record({}, {}, {}, {}).to_json(),
    "outcome of another kind": Record(BASE.description, [], {}, {}).to_json(),
    "not JSON": "accuracy: 0.9",
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_records(store, case):
    store.put(record_of(RANKING))
    content = DAMAGED[case]
    store.path(BASE).write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (lambda: store.get(BASE), store.records, lambda: store.export(store.folder / "all.zip")):
        with refused(f"{BASE.id}.json"):
            read()
    assert listing(store.folder) == sorted([f"{BASE.id}.json", f"{RANKING.id}.json"])


def test_every_truncation_is_seen():
    for length in range(0, len(WHOLE) - 1, 7):
        with pytest.raises(InputError):
            Record.from_json(WHOLE[:length])


def test_every_changed_character_is_seen():
    for position in range(0, len(WHOLE) - 1, 11):
        changed = WHOLE[:position] + chr(ord(WHOLE[position]) ^ 1) + WHOLE[position + 1 :]
        try:
            record = Record.from_json(changed)
        except InputError as error:
            check_sentence(str(error))
        else:  # white space may change
            assert record == record_of()


def test_a_record_under_another_name(store):
    store.put(record_of(RANKING))
    store.path(RANKING).rename(store.path(BASE))
    with refused(f"{BASE.id}.json", RANKING.id):
        store.get(BASE)


def test_a_record_that_cannot_be_read(store):
    store.path(BASE).mkdir(parents=True)
    with refused(f"{BASE.id}.json"):
        store.get(BASE)


# ---------------------------------------------------------------- forged values, with a checksum that fits

PACKED = pack_bits(np.ones((3, 100), dtype=bool))
FORGED = {
    "a shape that is none": {"shape": "3", "zlib_base64": ""},
    "negative": PACKED | {"shape": [-3, 100]},
    "huge": PACKED | {"shape": [10**12, 10**12]},
    "too many": PACKED | {"shape": [3, 101 * 8]},
    "too few": PACKED | {"shape": [3, 4]},
    "one axis": pack_bits(np.ones(8, dtype=bool)),
    "no images": pack_bits(np.ones((3, 0), dtype=bool)),
    "no base64": PACKED | {"zlib_base64": 5},
    "no zlib": PACKED | {"zlib_base64": "AAAA"},
    "no dictionary": 7,
    "none": None,
    "more than it says": PACKED | {"zlib_base64": base64.b64encode(zlib.compress(bytes(2**27))).decode()},
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_bits_are_refused(case):
    record = Record.from_json(Record(BASE.description, {"correct": FORGED[case]}, {}, {}).to_json())
    with refused("record", "run it again"):
        record.accuracy


@pytest.mark.parametrize("accuracy", [None, 0.5, [2.0], [-0.1], ["0.5"], [float("nan")], [[0.5]], {"conv1": [0.5]}, [True]])
def test_forged_accuracies_are_refused(accuracy):
    record = Record.from_json(Record(BASE.description, {"accuracy": accuracy}, {}, {}).to_json())
    with refused("accuracy", "0..1"):
        record.accuracy
