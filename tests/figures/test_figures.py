"""Figures and diagrams on small made-up data: each draws what it was given and says so in its alt text."""

import base64
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from support import refused

from dclib import experiments, figures, notebook, paper
from dclib.correction import CRITICALLY_WIDE, RELEASED_CIFAR100, UnitDesign
from dclib.experiments.imagenet import ALEXNET_FILTERS
from dclib.figures import diagrams, style
from dclib.models import AlexNet, AllConvNet
from dclib.results import Record

SIGMAS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
FALLING = np.linspace(0.625, 0.125, 6)


def strips(size=8):
    return np.random.default_rng(0).uniform(-20, 275, (7, 3, size, size))


def curve_record(method, seed, *accuracies):
    curve = [{"iteration": 10 * i, "loss": 1.0, "validation": [a, a]} for i, a in enumerate(accuracies, start=1)]
    return Record({"method": method, "seed": seed, "distortion": "blur"}, {"curve": curve}, {}, {})


def meta(network):
    """A network without numbers: AlexNet's would take 240 MB."""
    with torch.device("meta"):
        return network()


DRAWN = {
    "accuracy": (
        lambda: figures.accuracy_over_levels(
            {"Baseline": [0.75, *FALLING], "Finetune-1": [0.7, *FALLING], "Deepcorr-1c": [0.8] * 7}, "blur", SIGMAS, "here"
        ),
        ["0.750", "0.125", "falls", "0.800", "highest mean is that of Deepcorr-1c"],
    ),
    "swap fractions": (
        lambda: figures.swap_fractions(
            np.stack([FALLING, FALLING[::-1]]), (0.1, 0.9), "awgn", (5, 10, 15, 20, 25, 30), "the paper", before=FALLING
        ),
        ["10%", "90%", "rises from 0.125 to 0.625", "falls from 0.625 to 0.125", "Without a swap", "conv1"],
    ),
    "swap layers": (
        lambda: figures.swap_layers(
            {"conv1": FALLING + 0.25, "conv2": FALLING}, 0.5, "blur", SIGMAS, "here", before=FALLING
        ),
        ["conv1 0.625", "conv2 0.375", "conv1 helps most, conv2 least"],
    ),
    "priorities": (
        lambda: figures.priorities({"conv1": np.array([0.125, -0.5, 0.75])}, "blur", "here"),
        ["0.7500", "-0.5000"],
    ),
    "learning curves": (
        lambda: figures.learning_curves(
            [curve_record("Finetune-1", 0, 0.25, 0.5, 0.375), curve_record("Finetune-1", 3, 0.125)], "here"
        ),
        ["seed 0", "seed 3", "0.250", "0.375", "at best 0.500", "30"],
    ),
    "strip": (
        lambda: figures.distortion_strip(
            {"blur": strips(), "awgn": strips()}, {"blur": SIGMAS, "awgn": (5, 10, 15, 20, 25, 30)}, "A patch"
        ),
        ["A patch", "7 levels", "σ = 3", "σ = 30"],
    ),
    "gallery": (
        lambda: figures.gallery(strips()[:6].clip(0, 255), [f"class_{i}" for i in range(6)]),
        ["6 small patches", "class_5"],
    ),
    "windows": (lambda: figures.blur_windows(SIGMAS), ["3, 5, 7, 9, 11, 13", "falls", "0.14"]),
    "architecture": (diagrams.architecture, ["9 convolutions", "conv3: 3×3-conv-96-2 to 16×16", "to 6×6", "100 classes"]),
    "narrow architecture": (lambda: diagrams.architecture(AllConvNet(10, 8)), ["3×3-conv-8-1", "10 classes"]),
    "Figure 3b": (
        lambda: diagrams.architecture(meta(AlexNet)),
        [
            "227×227",
            "5 convolutions, each with ReLU",
            "conv1: 11×11-conv-96-4 to 55×55",
            "conv2: 5×5-conv-256-1 in 2",
            "3×3-maxpool-2, LRN to 13×13",
            "3×3-maxpool-2 to 6×6",
            "fc7: dense-4096",
            "softmax over 1000 classes",
        ],
    ),
    "BVLC's layout": (
        lambda: diagrams.architecture(meta(lambda: AlexNet(20, "caffe"))),
        ["LRN, 3×3-maxpool-2 to 27×27", "softmax over 20 classes"],
    ),
    "Figure 8b": (
        lambda: diagrams.deepcorrect_architecture(5, ALEXNET_FILTERS, meta(AlexNet)),
        [
            "Deepcorr-5",
            "5 convolutions and 3 dense layers",
            "72 of 96 filters behind conv1",
            "128 of 256 filters behind conv5",
        ],
    ),
    "unit of the text": (lambda: diagrams.correction_unit(CRITICALLY_WIDE), ["n filters", "4 steps", "skip"]),
    "unit as released": (lambda: diagrams.correction_unit(RELEASED_CIFAR100, 50), ["50 filters", "conv-64-1", "5 steps"]),
    "dilated unit": (lambda: diagrams.correction_unit(UnitDesign(8, (3, 3), (2, 1), batchnorm=False), 4), ["dilation 2"]),
    "Deepcorr-3": (
        lambda: diagrams.deepcorrect_architecture(3, dict.fromkeys(("conv1", "conv2", "conv3"), 50)),
        ["Deepcorr-3", "frozen", "50 of 96 filters behind conv3"],
    ),
}


@pytest.fixture(params=DRAWN, scope="module")
def drawn(request):
    draw, said = DRAWN[request.param]
    return draw(), said


def test_alt_text_says_what_the_data_say(drawn):
    figure, said = drawn
    for words in said:
        assert words in figure.alt_text


def test_alt_text_is_made_of_sentences(drawn):
    figure, _ = drawn
    assert figure.alt_text.endswith(".") and ".." not in figure.alt_text and "\n" not in figure.alt_text


def test_print_is_large_enough_on_white(drawn):
    figure, _ = drawn
    sizes = [text.get_fontsize() for text in figure.findobj(mpl.text.Text) if text.get_text().strip()]
    assert min(sizes) >= 9
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert figure.get_figwidth() <= 5.5  # one panel: 300 of a telephone's 360 pixels still show it at 60 %


def test_shown_with_its_alt_text_as_one_image(drawn):
    figure, _ = drawn
    shown = notebook.show(figure, caption="A caption.").data
    images = re.findall(r'<img src="data:image/(svg\+xml|png);base64,([^"]+)" alt="([^"]+)"', shown)
    assert len(images) == 1 and shown.count("<img") == 1 and ">A caption.</figcaption>" in shown
    kind, content, _ = images[0]
    content = base64.b64decode(content)
    if kind == "png":
        assert content.startswith(b"\x89PNG")
    else:
        assert ElementTree.fromstring(content).tag.endswith("svg") and len(content) <= notebook.SVG_LIMIT


def test_every_line_differs_by_more_than_colour():
    accuracy = np.linspace(0, 1, 9)[:, None] * FALLING
    figure = figures.swap_fractions(accuracy, np.linspace(0.1, 0.9, 9), "blur", SIGMAS, "here")
    assert len({line.get_marker() for line in figure.axes[0].lines}) == 9


def test_methods_keep_their_colours_whatever_else_is_drawn():
    curves = {"Finetune-1": [0.5] * 7, "Finetune-3": [0.4] * 7, "Deepcorr-3": [0.6] * 7}
    lines = {line.get_label(): line for line in figures.accuracy_over_levels(curves, "blur", SIGMAS, "").axes[0].lines}
    alone = figures.accuracy_over_levels({"Deepcorr-3": [0.6] * 7}, "blur", SIGMAS, "").axes[0].lines[0]
    assert lines["Finetune-3"].get_color() == lines["Deepcorr-3"].get_color() == alone.get_color()
    assert (lines["Finetune-3"].get_linestyle(), lines["Deepcorr-3"].get_linestyle()) == ("--", "-")


def test_a_long_name_does_not_leave_the_figure():
    curves = {name: [0.5] * 7 for name in ("Baseline", "Finetune-8", "Deepcorr-5-no-bn", "Wiener deconvolution, for NCSR")}
    figure = figures.accuracy_over_levels(curves, "blur", SIGMAS, "here")
    assert "Wiener deconvolution, for NCSR ends where it starts" in figure.alt_text
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    "names",
    [
        ("Baseline", "Finetune-9", "Deepcorr-3", "Baseline, restored"),
        ("Baseline", *style.ALEXNET_ROWS),
        ("Wiener deconvolution, for NCSR", "BM3D"),
    ],
)
def test_no_two_methods_look_alike(names):
    drawn = (
        figures.accuracy_over_levels(
            {name: [0.5, 0.4] for name in names}, "blur", [1.0], "here", methods={"Wiener deconvolution, for NCSR": "NCSR"}
        )
        .axes[0]
        .lines
    )
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == len(names)


def test_a_drawing_is_read_off_the_network_and_leaves_it_alone():
    """Sizes are those of the real outputs; mode, hooks and numbers of the given network stay."""
    model = AllConvNet(10, 8).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = diagrams.architecture(model).alt_text
    sizes = [model.eval().features(torch.zeros(1, 3, 32, 32)).shape[-1]]
    assert f"conv9: 1×1-conv-10-1 to {sizes[0]}×{sizes[0]}" in drawn
    assert not model.conv1._forward_hooks and model.conv1.weight.device.type == "cpu"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def method_lines(*names):
    """{method: (colour, marker)} as drawn in Tables 7 and 8, in Figure 12 here and in the paper's Figure 12."""
    drawn = (
        figures.accuracy_over_levels({name: [0.5, 0.4] for name in names}, "blur", [1.0], "here"),
        figures.learning_curves([curve_record(name, 0, 0.4, 0.5) for name in reversed(names)], "here"),
        figures.training_curves([1, 2], {name: [0.4, 0.5] for name in (names[-1], *names[:-1])}, "the paper"),
    )
    return [
        {line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.axes[0].lines}
        for figure in drawn
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("Deepcorr-5", "Finetune-8", "Deepcorr-5-no-bn"),
        ("Deepcorr-5-lite", "Deepcorr-5-bottleneck", "Deepcorr-5c"),
        ("Finetune-1", "Finetune-9", "Deepcorr-3"),
        ("Deepcorr-1", "Deepcorr-1-no-bn", "Deepcorr-1-lite"),
        ("ranked_48", "random_48", "ranked_48_least", "random_6"),
    ],
)
def test_a_method_looks_the_same_in_every_figure(names):
    tables, curves, published = method_lines(*names)
    assert tables == curves == published


def test_kinds_of_unit_look_the_same_in_a_network_of_another_depth():
    for kind in ("-no-bn", "-lite", "-bottleneck"):
        assert style.look_of(f"Deepcorr-1{kind}", 3) == style.look_of(f"Deepcorr-5{kind}", 0)


def test_records_of_one_method_share_its_colour_and_differ():
    records = [curve_record(name, seed, 0.4, 0.5) for name in ("Finetune-8", "Deepcorr-5") for seed in (0, 1)]
    lines = figures.learning_curves(records, "here").axes[0].lines
    colours = [line.get_color() for line in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3] and len({line.get_marker() for line in lines}) == 4


def test_choices_of_filters_pair_by_their_number():
    ranked, random, least = (style.look_of(name, 0) for name in ("ranked_48", "random_48", "ranked_48_least"))
    assert ranked["color"] == random["color"] == least["color"]
    assert (ranked["linestyle"], random["linestyle"], least["linestyle"]) == ("-", "--", ":")
    assert experiments.SHARES == style.SHARES


def test_the_papers_training_curves_are_drawn_whole():
    iterations, curves = paper.training_curves("blur")
    figure = figures.training_curves(iterations, curves, "the paper")
    line = figure.axes[0].lines[0]
    assert line.get_label() == "Finetune-8" and line.get_ydata().tolist() == curves["Finetune-8"].tolist()
    assert f"Finetune-8 goes from {curves['Finetune-8'][0]:.3f}" in figure.alt_text and "62500" in figure.alt_text


def test_gain_and_loss_differ_in_print_without_colour():
    """The lightness of Figure 11's colours falls from the greatest loss to the greatest gain."""
    red, green, blue = (figures.DIFFERENCE(np.linspace(0, 1, 21))[:, :3] ** 2.2).T
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert (np.diff(luminance) < 0).all() and luminance[0] > 0.6 and luminance[-1] < 0.05
    figure = figures.class_difference(np.linspace(-0.5, 0.5, 100), [str(i) for i in range(100)], "blur", "here")
    squares = figure.axes[0].images[0]
    assert squares.get_cmap() == figures.DIFFERENCE and squares.get_clim() == (-0.5, 0.5)


def test_the_same_data_give_the_same_bytes():
    first, second = (notebook.show(figures.blur_windows(SIGMAS)).data for _ in range(2))
    assert first == second


def test_one_changed_number_changes_the_alt_text():
    before, after = (
        figures.swap_layers({"conv1": FALLING, "conv2": values}, 0.5, "blur", SIGMAS, "here").alt_text
        for values in (FALLING - 0.01, FALLING + 0.01)
    )
    assert "conv1 helps most" in before and "conv2 helps most" in after


def test_html_in_an_alt_text_is_escaped():
    figure = figures.gallery(strips()[:1].clip(0, 255), ['a "quoted" <name>'])
    assert "&quot;quoted&quot; &lt;name&gt;" in notebook.show(figure).data


def test_nothing_to_draw_is_refused():
    with refused("at least one curve"):
        figures.accuracy_over_levels({}, "blur", SIGMAS, "here")
    with refused("at least one curve"):
        figures.learning_curves([], "here")


def test_figure_without_alt_text_is_refused():
    with refused("alt text"):
        notebook.show(mpl.figure.Figure())
