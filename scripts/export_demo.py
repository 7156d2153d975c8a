"""Make what the live demo page loads: networks as ONNX, example images, noise, accuracies, the ONNX runtime.

A page that is opened from a disk may not fetch files, so everything becomes JavaScript in `executed/_static/demo/`.
It is made again only when dclib, the records, the weights or the runtime changed. A network that has not been trained
yet is left out; the page says so.
"""

import base64
import gzip
import hashlib
import json
import re
import shutil
import sys
from contextlib import suppress

import numpy as np
import torch
from execute import INPUTS, ROOT, digest
from PIL import Image

from dclib import notebook, tables, zoo
from dclib.datasets import photograph_file
from dclib.errors import InputError
from dclib.experiments import PREFERRED, in_words, method_run, profile
from dclib.figures import NAMES
from dclib.results import Store

RUNTIME = ROOT / "book/vendor/onnxruntime-web"
OUTPUT = ROOT / "executed/_static/demo"
ACCURACY = ROOT / "executed/live_demo_accuracy.html"
STAMP = ROOT / "executed/live_demo.inputs"  # the digest of what the last export was made from
METHODS = ("Baseline", "Finetune-9", "Deepcorr-6")
NOISE_SEEDS = range(8)
#: Photographs in which one thing fills a square: (left, top, side) of the square and the class of CIFAR-100, if any.
EXAMPLES = {
    "rocket": ("rocket", (250, 30, 200), "rocket"),
    "motorcycle": ("motorcycle_left", (110, 30, 470), "motorcycle"),
    "cup of coffee": ("coffee", (150, 50, 300), "cup"),
    "astronaut": ("astronaut", (60, 0, 400), "woman"),
    "cat": ("chelsea", (80, 0, 300), None),
}
CLASSES = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm""".split()


def published_networks():
    """{(method, distortion): network} of the profile of which most are published; the baseline serves both distortions."""
    found = {name: _networks_of(name) for name in PREFERRED}
    best = max(PREFERRED, key=lambda name: len(found[name]))  # of equals the first
    return found[best], best


def _networks_of(profile_name):
    found = {}
    for method in METHODS:
        for distortion in ("blur", "awgn"):
            with suppress(InputError):  # not trained yet
                found[method, distortion] = zoo.load_model(method, distortion=distortion, profile=profile_name)
    return found


def onnx_file(network):
    """`network` as an ONNX file for one image [1, 3, 32, 32] in 0..255; equal networks give equal bytes."""
    program = torch.onnx.export(
        network,
        (torch.full((1, 3, 32, 32), 128.0),),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["logits"],
    )
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")  # where in the source a node comes from, as paths of this machine
    return model.SerializeToString(deterministic=True)


def example_image(name, square):
    """A square of a photograph as 32x32 pixels, uint8 [3, 32, 32]."""
    left, top, side = square
    photograph = Image.open(photograph_file(name)).convert("RGB")
    pixels = photograph.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BOX)
    return np.asarray(pixels).transpose(2, 0, 1).copy()


def noise_fields():
    """Standard normal fields float32 [seeds, 3, 32, 32], as `additive_white_gaussian_noise` draws them for sigma 1."""
    return np.stack(
        [torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))[0].numpy() for seed in NOISE_SEEDS]
    )


def page_data(networks, profile_name):
    """What the page shows besides the networks, ready for JSON."""
    return {
        "classes": [name.replace("_", " ") for name in CLASSES],
        "examples": [
            {"name": label, "class": name, "pixels": encoded(example_image(photograph, square).tobytes())}
            for label, (photograph, square, name) in EXAMPLES.items()
        ],
        "noise": [encoded(field.tobytes()) for field in noise_fields()],
        "methods": METHODS,
        "scale": profile_name,
        "networks": {f"{method} {distortion}": file_name(method, distortion) for method, distortion in networks},
        "command": f"dclib run table3 table4 --profile {profile_name}",
    }


def file_name(method, distortion):
    """The file of a network; the baseline is the same for both distortions."""
    return method.lower() if method == "Baseline" else f"{method.lower()}-{distortion}"


def accuracy_tables(networks, profile_name):
    """The measured test accuracy of the networks on the page, from the records, as HTML."""
    p, store = profile(profile_name), Store()
    styled = []
    for distortion in ("blur", "awgn"):
        runs = {method: method_run(p, method, distortion) for method in METHODS if (method, distortion) in networks}
        records = {method: record for method, run in runs.items() if (record := store.get(run))}
        if records:
            caption = f"The networks of this page under {NAMES[distortion]}: accuracy on CIFAR-100's test images."
            styled.append(tables.of_records(records, caption))
    below = f"Here, {p.name}: {in_words(p.stand_in)}." if p.stand_in else ""
    if not styled:
        return f"<p>The networks of this page are <em>{tables.NOT_RUN}</em>.</p>"
    return notebook.table(*styled, below=below).data


def checked_runtime():
    """The runtime's files by name, with the SHA-256 that its README says; the wasm stays packed."""
    expected = dict(re.findall(r"`(ort[\w.-]+)` \|.*`([0-9a-f]{64})`", (RUNTIME / "README.md").read_text(encoding="utf-8")))
    files = {name: (RUNTIME / name).read_bytes() for name in expected}
    for name, content in files.items():
        found = hashlib.sha256(gzip.decompress(content) if name.endswith(".gz") else content).hexdigest()
        if found != expected[name]:
            raise InputError(
                f"{RUNTIME / name}: expected SHA-256 {expected[name][:12]}.., got {found[:12]}..; restore the file with git."
            )
    return files


def encoded(content):
    """Bytes as base64 text."""
    return base64.b64encode(content).decode()


def write_script(name, **values):
    """Write `name`.js, which puts `values` where the page's script finds them."""
    lines = [f"dclibDemo.{key} = {json.dumps(value)};" for key, value in values.items()]
    (OUTPUT / f"{name}.js").write_text("\n".join(["globalThis.dclibDemo ??= {};", *lines, ""]), encoding="utf-8")


def export():
    """Write everything; a failure leaves nothing behind."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    try:
        runtime = checked_runtime()
        (OUTPUT / "ort.wasm.min.js").write_bytes(runtime["ort.wasm.min.js"])
        write_script(
            "runtime",
            glue=runtime["ort-wasm-simd-threaded.mjs"].decode(),
            wasm=encoded(runtime["ort-wasm-simd-threaded.wasm.gz"]),
        )
        networks, profile_name = published_networks()
        write_script("data", data=page_data(networks, profile_name))
        for name, network in {file_name(*key): network for key, network in networks.items()}.items():
            write_script(name, network=encoded(onnx_file(network)))
            print(f"  {name}", flush=True)
        ACCURACY.write_text(accuracy_tables(networks, profile_name), encoding="utf-8")
    except BaseException:  # also when the user interrupts
        shutil.rmtree(OUTPUT)
        raise


def main():
    """Export if anything changed; returns the exit code."""
    patterns = [*(pattern for group in INPUTS.values() for pattern in group), "scripts/export_demo.py", "book/vendor/**/*"]
    inputs = digest(patterns)
    if OUTPUT.is_dir() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == inputs:
        return 0
    print("Exporting the networks of the live demo.", flush=True)
    try:
        export()
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    STAMP.write_text(inputs, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
