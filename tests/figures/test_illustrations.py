"""Figures 1, 2 and 10 on small made-up data: what is drawn, and what the alt text says of it."""

import base64
import re

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from support import refused

from dclib import figures, notebook, statistics

CLASSES = ("coffee", "hubble_deep_field", "retina")


def predictions(wrong="retina"):
    images = np.random.default_rng(0).uniform(-20, 275, (2, 3, 3, 8, 8))
    return figures.predictions(
        images,
        ("coffee", "retina"),
        [["coffee", wrong, "coffee"], ["retina"] * 3],
        np.array([[0.984, 0.5, 0.25], [0.75, 0.7, 0.6]]),
        "blur",
        (0, 1.0, 3.0),
        "here",
    )


def clusters(spread):
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 20)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    return np.stack([centres[labels] + s * rng.standard_normal((60, 2)) for s in spread]), labels


def embeddings():
    (near, labels), (far, _) = clusters((0.1, 8.0)), clusters((0.1, 2.0))
    return figures.embeddings({"Baseline": near, "Deepcorr-3": far}, labels, CLASSES, "awgn", (0, 20.0))


@pytest.mark.parametrize(
    "draw, said",
    [
        (predictions, ["coffee: clean right 98%, σ = 1 retina 50%, σ = 3 right 25%", "retina: clean right 75%", "here"]),
        (embeddings, ["60 images of 3 classes", "Baseline: clean 100%", "Deepcorr-3: clean 100%", "σ = 20"]),
    ],
)
def test_drawn_as_every_figure_of_the_book(draw, said):
    figure = draw()
    for words in said:
        assert words in figure.alt_text
    assert figure.alt_text.endswith(".") and "\n" not in figure.alt_text
    assert min(t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text().strip()) >= 9
    assert figure.get_figwidth() <= 5.5
    image = re.search(r'base64,([^"]+)"', notebook.show(figure).data)
    assert len(base64.b64decode(image[1])) > 1000


def test_right_and_wrong_differ_by_more_than_colour():
    texts = [axes.get_xlabel() for axes in predictions().axes]
    assert [text[0] for text in texts] == ["✓", "✗", "✓", "✓", "✓", "✓"]
    assert [text[0] for text in (axes.get_xlabel() for axes in predictions("coffee").axes)] == ["✓"] * 6


def test_pictures_are_the_images_given():
    image = predictions().axes[4].images[0].get_array()
    given = np.random.default_rng(0).uniform(-20, 275, (2, 3, 3, 8, 8))[1, 1]
    assert np.allclose(image, np.clip(given / 255, 0, 1).transpose(1, 2, 0))


def test_every_point_is_drawn_and_no_two_classes_look_alike():
    figure = embeddings()
    for axes in figure.axes:
        assert sum(len(c.get_offsets()) for c in axes.collections) == 60
    points, labels = np.random.default_rng(0).normal(size=(1, 40, 2)), np.arange(40) % 20
    drawn = figures.embeddings({"net": points}, labels, [f"c{i}" for i in range(20)], "blur", (0,)).axes[0].collections
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in drawn}
    assert len(looks) == 20


def test_own_neighbours_are_those_of_a_nearest_neighbour_classifier():
    points, labels = clusters((4.0,))
    expected = np.mean(
        [
            KNeighborsClassifier(1).fit(np.delete(points[0], i, 0), np.delete(labels, i)).predict(points[0][i : i + 1])[0]
            == labels[i]
            for i in range(60)
        ]
    )
    assert 0.4 < statistics.own_neighbours(points[0], labels) == expected < 1
    assert statistics.own_neighbours(np.zeros((4, 2)), np.array([0, 0, 1, 1])) <= 1  # equal points


def test_nothing_to_draw():
    with refused("at least one image"):
        figures.predictions(np.empty((0, 3, 3, 8, 8)), (), (), np.empty((0, 3)), "blur", (0, 1, 2), "here")
    with refused("at least one network"):
        figures.embeddings({}, [], (), "blur", (0,))
