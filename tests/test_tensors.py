"""Files of tensors carry a seal: a damaged number is noticed wherever it lies, and files of others are read as they are."""

import pytest
import torch
from safetensors.torch import save, save_file
from support import RANKING, data_of, refused, small_net

from dclib import correction
from dclib.correction import UnitDesign, correct
from dclib.execution import network
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import untrained
from dclib.experiments import baseline, profile
from dclib.tensors import checksum, read, reason, sealed
from dclib.training import OutOfTime, Schedule, train

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(0), "c": torch.tensor(True), "d": torch.ones(3).bfloat16()}


def flipped(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, sealed(TENSORS, {"note": "text"}))
    tensors, metadata = read(path)
    assert metadata == {"note": "text"} and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(value, TENSORS[name]) for name, value in tensors.items())
    save_file(TENSORS, path)  # as others write them
    assert read(path)[0].keys() == TENSORS.keys() and read(path)[1] == {}


@pytest.mark.parametrize("what", ["tensor", "text"])
def test_one_bit_is_seen(tmp_path, what):
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, sealed(TENSORS, {"note": "text"}))
    flipped(path, -1 if what == "tensor" else path.read_bytes().index(b"text"))
    with pytest.raises(ValueError, match="seal"):
        read(path)


def test_the_checksum_knows_names_types_and_shapes():
    sums = [
        checksum({"a": torch.zeros(4)}),
        checksum({"b": torch.zeros(4)}),
        checksum({"a": torch.zeros(2, 2)}),
        checksum({"a": torch.zeros(4, dtype=torch.int32)}),
        checksum({"a": torch.zeros(4)}, {"x": "y"}),
    ]
    assert len(set(sums)) == 5 and sums[0] == checksum({"a": torch.zeros(8)[::2]})


def test_reasons_are_one_line():
    assert reason(ValueError("first\nlast \n")) == "last" and reason(KeyError()) == "KeyError"
    assert len(reason(ValueError("x" * 9999))) == 200


def test_networks_and_trainings_are_sealed(tmp_path):
    """One bit in the numbers of a corrected network, or of a training's checkpoint, is not trained on."""
    path, model = tmp_path / "n.safetensors", small_net()
    correction.save(correct(model, {"conv1": [0]}, UnitDesign(2)), path)
    flipped(path)
    with refused("seal", "n.safetensors"):
        correction.load(small_net(), path)

    path, images = tmp_path / "c.safetensors", data_of(20)
    with pytest.raises(OutOfTime):
        train(small_net(), images, images, Schedule(6, 10, 0.05, (), 3), seed=0, checkpoint=path, deadline=0.0)
    flipped(path)
    with refused("seal", "delete"):
        train(small_net(), images, images, Schedule(6, 10, 0.05, (), 3), seed=0, checkpoint=path)


def test_facts_of_a_checkpoint_are_sealed(store):
    path = store.checkpoint(RANKING)
    parts = Parts(RANKING, path)
    parts.facts["loss"] = 0.5
    parts.write()
    flipped(path, path.read_bytes().index(b"0.5"))
    with refused("facts", "delete"):
        Parts(RANKING, path)


def test_weights_of_a_run_are_sealed(store):
    run = baseline(profile("smoke"))
    state = untrained(run, store).state_dict()
    store.put_weights(run, save(state, sealed(state)))
    assert not network(run, store).training
    flipped(store.own_weights(run))
    with refused("seal", "dclib run"):
        network(run, store)
