"""Sliders: every position is there beforehand, in words and in pixels; in a browser, one of them at a time is seen."""

import base64
import html
import io
import re

import numpy as np
import pytest
from PIL import Image
from support import refused

from dclib.distortions import LEVELS
from dclib.figures import sliders

SIGMAS = LEVELS["cifar100"]["blur"]
ACCURACY = {"Baseline": [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], "Deepcorr-6": [0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4]}


def images():
    return np.random.default_rng(0).uniform(-20, 275, (7, 3, 32, 32))


def image_slider(accuracy=ACCURACY):
    return sliders.distorted_image(images(), "A patch", "blur", SIGMAS, accuracy, "here, small")


def fraction_slider(**options):
    accuracy = {"conv1": np.full((2, 6), 0.5) + [[0.0], [0.25]], "conv2": np.full((2, 6), 0.25)}
    return sliders.corrected_fraction(accuracy, (0.1, 0.5), "awgn", "the paper", **options)


def test_every_level_has_its_position():
    slider = image_slider()
    assert [p.name for p in slider.positions] == ["clean", *(f"σ = {s:g} pixels" for s in SIGMAS)]
    assert [p.words for p in slider.positions] == [
        f"Baseline {b:.3f}, Deepcorr-6 {d:.3f}" for b, d in zip(*ACCURACY.values())
    ]


def test_pictures_hold_the_pixels_clipped_and_have_alternative_texts():
    for image, position in zip(images(), image_slider().positions):
        image_tag = r'<img class="dark-light" src="data:image/png;base64,([^"]+)" alt="([^"]+)"'
        source, alt = re.search(image_tag, position.content).groups()
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
        assert np.array_equal(shown.transpose(2, 0, 1), np.clip(np.rint(image), 0, 255))
        assert (
            html.unescape(alt) == f"A patch, {position.name}: its pixels have a standard deviation of "
            f"{image.std():.0f} grey values."
        )


def test_bars_share_one_scale_over_all_positions():
    widths = [[float(w) for w in re.findall(r"width:([\d.]+)%", p.content)] for p in image_slider().positions]
    expected = np.array(list(ACCURACY.values())).T / 0.7 * 100
    assert np.allclose(widths, expected, atol=0.05)


def test_image_without_accuracies_says_not_run_yet():
    assert all("not run yet" in p.content for p in image_slider({}).positions)


def test_fractions_are_averaged_over_levels():
    assert [(p.name, p.words) for p in fraction_slider().positions] == [
        ("10% of a layer", "conv1 0.500, conv2 0.250"),
        ("50% of a layer", "conv1 0.750, conv2 0.250"),
    ]
    first = fraction_slider(before=[0.1, 0.1, 0.1, 0.2, 0.2, 0.2]).positions[0]
    assert (first.name, first.words) == ("no filter", "conv1 0.150, conv2 0.150")


def test_equal_sliders_give_equal_html_and_different_ones_different_ids():
    one, same = (sliders.show(image_slider(), fraction_slider(), caption="Both.").data for _ in range(2))
    assert one == same and len(set(re.findall(r'id="(slider-\w+)"', one))) == 2
    assert one.index("</script>") < one.index("<figcaption") and "http" not in one


def test_wrong_lengths_are_refused():
    with refused("7 images", "got 3 images"):
        sliders.distorted_image(images()[:3], "A patch", "blur", SIGMAS, {}, "here")
    with refused("7 images", "2 accuracies"):
        sliders.distorted_image(images(), "A patch", "blur", SIGMAS, {"Baseline": [0.1, 0.2]}, "here")
    with refused("2 fractions"):
        sliders.corrected_fraction({"conv1": np.zeros((3, 6))}, (0.1, 0.5), "blur", "here")


@pytest.fixture
def page(browser):
    opened = browser.new_page()
    yield opened
    opened.close()


def seen(page):
    return page.evaluate("[...document.querySelectorAll('.dclib-frame')].map(frame => frame.checkVisibility())")


def test_keyboard_moves_the_slider_and_words_follow(page):
    page.set_content(f"<!doctype html>{sliders.show(image_slider()).data}")
    assert seen(page) == [True] + [False] * 6
    page.keyboard.press("Tab")
    for key, position in (("ArrowRight", 1), ("ArrowRight", 2), ("End", 6), ("Home", 0), ("ArrowUp", 1)):
        page.keyboard.press(key)
        assert seen(page) == [i == position for i in range(7)]
        spoken = page.locator("input").get_attribute("aria-valuetext")
        assert spoken == f"{image_slider().positions[position].name}. {image_slider().positions[position].words}"


def test_sliders_on_one_page_move_apart(page):
    page.set_content(f"<!doctype html>{sliders.show(fraction_slider(), image_slider()).data}")
    page.locator("input").nth(1).fill("3")
    assert seen(page) == [True, False] + [i == 3 for i in range(7)]


def test_without_javascript_and_in_print_all_positions_are_seen(browser, page):
    content = f"<!doctype html>{sliders.show(image_slider()).data}"
    page.set_content(content)
    page.emulate_media(media="print")
    assert all(seen(page)) and not page.locator("input").is_visible()
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.set_content(content)
    assert all(plain.locator(".dclib-frame").nth(i).is_visible() for i in range(7))
    assert not plain.locator("input").is_visible()
    context.close()
