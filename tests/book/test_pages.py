"""What pages are made of: tables from records, verdicts from records, live runs. Records here are made up."""

import json
import re

import numpy as np
import pytest
from made_up_records import put, put_baseline, run_of
from support import refused

from dclib import notebook, paper, tables
from dclib.experiments import METHODS, in_words, profile, rows
from dclib.results import Record, Store, pack_bits
from dclib.tables import costs
from dclib.tables.accuracy import _best_two
from dclib.verdicts import judgement
from dclib.verdicts.finding import Outcome


def claim(identity):
    return next(c for c in paper.claims() if c["id"] == identity)


def cells(html):
    return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", html)]


@pytest.mark.parametrize("target", tables.TABLES)
def test_table_without_records_is_a_page_all_the_same(target, store):
    html = tables.styled(target, "small", store).to_html()
    assert tables.NOT_RUN in html and 'class="dataframe' in html
    assert tables.published_profile(target, store) == "small"
    lines = tables.source_lines(target, store)
    assert f"`dclib run {target} --profile small`" in lines and f"`dclib run {target} --profile paper`" in lines


def test_table_names_the_stand_in_only_where_it_stands_in(store):
    assert in_words(profile("small").stand_in) not in tables.styled("table3", "small", store).caption
    put(store, run_of("Finetune-1"))
    assert in_words(profile("small").stand_in) in tables.styled("table3", "small", store).caption


@pytest.mark.parametrize("target, head", [("table3", "σ<sub>b</sub><br>0.5"), ("table4", "σ<sub>n</sub><br>5")])
def test_sigma_has_its_subscript_and_a_method_is_named_once(target, head, store):
    html = tables.styled(target, "small", store).to_html()
    assert head in html and "σ_" not in html
    assert len(re.findall(r'rowspan="2"\s*>Deepcorr-1<', html)) == html.count(">Deepcorr-1<") == 1


def test_best_is_bold_and_second_underlined_for_each_source_apart(store):
    for method, share in (("Finetune-1", 0.5), ("Finetune-3", 0.6), ("Deepcorr-1", 0.7)):
        put(store, run_of(method), share=share)
    style = tables.styled("table3", "small", store)._compute()
    index = list(style.index)

    def look(method, source):
        return dict(style.ctx[index.index((method, source)), 0])

    assert look("Deepcorr-1", "here, small")["font-weight"] == "bold"
    assert look("Finetune-3", "here, small")["text-decoration"] == "underline"
    assert not look("Finetune-1", "here, small")
    assert look("Baseline", "paper")["font-weight"] == "bold"  # clean images, Table 3
    assert look("Deepcorr-6", "paper")["text-decoration"] == "underline"


def test_fewer_test_images_earn_no_mark(store):
    """BM3D on 20 images is right on all of them: that is not the best row of those that saw 1,000."""
    put(store, run_of("Finetune-8", "table8"), share=0.5)
    put(store, run_of("Deepcorr-5", "table8"), share=0.4)
    run = run_of("BM3D", "table8")
    outcome = {"correct": pack_bits(np.ones((7, 20), bool)), "parameters_trained": 1, "accuracy": [1.0] * 7}
    store.put(Record(run.description, outcome, {}, {"device": "none", "commit": "abc"}))
    style = tables.styled("table8", "small", store)._compute()
    index = list(style.index)
    assert not style.ctx[index.index(("BM3D", "here, small")), 0]
    assert dict(style.ctx[index.index(("Finetune-8", "here, small")), 0])["font-weight"] == "bold"


def test_ties_share_their_mark():
    marks = _best_two({"a": [0.5, 0.1], "b": [0.50001, 0.3], "c": [0.4, 0.2]})
    assert marks["a"][0] == marks["b"][0] == "font-weight: bold" and marks["c"] == ["text-decoration: underline"] * 2


def test_a_larger_scale_takes_over_with_half_of_its_rows(store):
    for method in METHODS[:8]:
        put(store, run_of(method))
    for count, method in enumerate(METHODS, start=1):
        put(store, run_of(method, name="paper"))
        assert tables.published_profile("table3", store) == ("paper" if count >= 6 else "small")
        if count == 6:
            assert f"Not run yet: {METHODS[6]}" in tables.source_lines("table3", store)


@pytest.mark.parametrize(
    "target, first, other", [("table9", "local blur", "global blur"), ("figure12", "Deepcorr-5 blur", "Finetune-8 blur")]
)
def test_rows_of_one_table_come_from_one_scale(store, target, first, other):
    small = put(store, run_of(other, target))
    assert tables.published_profile(target, store) == "small"
    assert [r.id for r in tables.shown_records(target, other, store)] == [small.id]
    larger = [put(store, run) for run in rows(target, profile("imagenet20"))[first][:2]]
    assert tables.published_profile(target, store) == "imagenet20"
    assert [r.id for r in tables.shown_records(target, first, store)] == [r.id for r in larger]
    assert tables.shown_records(target, other, store) == []  # its record is of another scale


def test_ncsr_is_not_judged_by_another_method(store):
    put_baseline(store, "table7")
    for method in ("NCSR", "Deepcorr-5"):
        put(store, run_of(method, "table7"), share=0.3 if method == "NCSR" else 0.6)
    verdict, name = judgement.judge(claim("5.2.2-beats-ncsr"), store)
    assert (verdict.verdict, name) == (Outcome.OPEN, "") and len(verdict.runs) == 2
    assert verdict.explanation.startswith("A Wiener deconvolution was run in place of NCSR. The difference is 0.3")


def test_our_row_of_ncsr_has_the_name_of_what_was_run(store):
    frame = tables.beside("table7", "small", store)
    ours = ("Wiener deconvolution, for NCSR", "here, small")
    assert ("NCSR", "paper") in frame.index and ours in frame.index and ("NCSR", "here, small") not in frame.index
    assert "Not run yet: Wiener" not in tables.source_lines("table7", store)  # nothing is
    put(store, run_of("Finetune-8", "table7"))
    assert "Wiener deconvolution, for NCSR" in tables.source_lines("table7", store)
    put(store, run_of("NCSR", "table7"), share=0.9, parameters=54_616_084)
    style = tables.styled("table7", "small", store)
    html = style.to_html()
    assert "Wiener deconvolution,<br>for NCSR" in html and "Wiener deconvolution" in style.caption
    frame = tables.beside("table7", "small", store)
    assert frame.loc[ours, "parameters"] == frame.loc[("NCSR", "paper"), "parameters"] == "–"
    assert frame.loc[("Finetune-8", "here, small"), "parameters"] == "100"


def test_source_line_names_every_data_set(store):
    for label in ("Baseline sun397", "Baseline caltech101"):
        put(store, run_of(label, "table14"))
    line = tables.source_line("table14", "small", store)
    assert "caltech101" in line and "sun397" in line and "test images" not in line and "18 of SUN" in line
    put(store, run_of("BM3D", "table8"))
    assert "BM3D on 200 of the test images" in tables.source_line("table8", "small", store)
    assert "BM3D" not in tables.source_line("table7", "small", store)


def test_costs_of_restoration_are_those_of_the_benchmark(tmp_path):
    assert "python -m benchmarks.restoration" in costs.restoration(tmp_path)
    assert "Not run yet" in costs.restoration(tmp_path)
    result = {
        "environment": {"device": "a machine", "threads": 1},
        "cores": 2,
        "entries": [{"name": "Deepcorr-5, forward pass", "median": 0.25}, {"name": "BM3D", "median": 30.0, "ratio": 120.0}],
    }
    (tmp_path / "restoration-a.json").write_text(json.dumps(result))
    shown = costs.restoration(tmp_path)
    assert "a machine, 2 cores, PyTorch on 1:" in shown and "Not run yet" not in shown
    assert "| Deepcorr-5, forward pass | 0.25 | – |\n| BM3D | 30 | 120 times |" in shown


def test_costs_of_the_ranking_are_those_of_the_benchmark(tmp_path):
    assert "python -m benchmarks.alexnet_ranking" in costs.ranking(tmp_path)
    result = {
        "environment": {"device": "a machine", "threads": 1},
        "cores": 2,
        "images": 5,
        "entries": [
            {"name": f"{layer}: {way}", "median": median}
            for layer, way, median in (
                ("conv1", "shortcut", 2.0),
                ("conv1", "naive", 3.0),
                ("conv2", "shortcut", 1.0),
                ("conv2", "naive", 9.0),
            )
        ],
        "peak_bytes": {"shortcut": 2e9, "naive": 1e9},
    }
    (tmp_path / "alexnet-ranking-a.json").write_text(json.dumps(result))
    shown = costs.ranking(tmp_path)
    assert "| conv1 | 2 | 3 | 1.50 |\n| conv2 | 1 | 9 | 9.00 |\n| all | 3 | 12 | 4.00 |" in shown
    assert "2.00 GB here and 1.00 GB naively" in shown


def test_changing_one_record_changes_its_cells_and_no_others(store):
    for method in ("Finetune-1", "Deepcorr-1"):
        put(store, run_of(method))
    before = tables.beside("table3", "small", store)
    put(store, run_of("Deepcorr-1"), share=0.9)
    after = tables.beside("table3", "small", store)
    changed = (before != after).any(axis=1)
    assert list(before.index[changed]) == [("Deepcorr-1", "here, small")]


def test_claim_waits_for_all_of_its_records(store):
    order = claim("5.1.2-deepcorr1-better-blur")
    put(store, run_of("Finetune-1"), share=0.4)
    put(store, run_of("Deepcorr-1"), share=0.8)
    verdict, name = judgement.judge(order, store)
    assert (verdict.verdict, name) == (Outcome.NOT_RUN, "") and "the baseline of Deepcorr-1" in verdict.explanation
    put_baseline(store)
    verdict, name = judgement.judge(order, store)
    assert (verdict.verdict, name) == (Outcome.DIRECTION, "small")  # of single levels one seed says nothing more
    assert verdict.stand_ins == profile("small").stand_in and len(verdict.runs) == 2
    (store.folder / f"{run_of('Deepcorr-1').id}.json").unlink()
    assert judgement.judge(order, store)[0].verdict == Outcome.NOT_RUN


def test_three_seeds_of_other_rows_say_how_much_trainings_differ(store):
    """Of one claim's networks there is one seed; two other rows have three, and say what a tick has to exceed."""
    order = claim("5.1.2-deepcorr1-better-blur")
    put_baseline(store, name="paper")
    for method, share in (("Finetune-1", 0.4), ("Deepcorr-1", 0.5)):
        put(store, run_of(method, name="paper"), share=share)
    assert "no row has three seeds yet" in judgement.judge(order, store)[0].explanation
    for spread, expected in ((0.002, Outcome.HOLDS), (0.1, Outcome.INCONCLUSIVE)):
        for method in ("Finetune-3", "Deepcorr-3"):
            for seed, run in enumerate(rows("table3", profile("paper"))[method]):
                put(store, run, share=0.5 + spread * (seed - 1))
        found, count = judgement.deviations("paper", "cifar100", store)[None]
        assert count == 2 and found == pytest.approx(spread, rel=0.3)
        verdict, _ = judgement.judge(order, store)
        assert verdict.verdict == expected and "in 2 rows with three seeds" in verdict.explanation


def test_claim_never_mixes_scales(store):
    order = claim("5.1.2-deepcorr1-better-blur")
    put(store, run_of("Finetune-1"), share=0.4)
    put(store, run_of("Deepcorr-1", name="paper"), share=0.8)
    assert judgement.judge(order, store)[0].verdict == Outcome.NOT_RUN


def test_paper_scale_decides_where_it_is_complete(store):
    order = claim("5.1.2-deepcorr1-better-blur")
    for name, better, worse in (("small", 0.4, 0.8), ("paper", 0.8, 0.4)):
        put_baseline(store, name=name, share=0.2)
        put(store, run_of("Deepcorr-1", name=name), share=better)
        put(store, run_of("Finetune-1", name=name), share=worse)
    verdict, name = judgement.judge(order, store)
    assert (verdict.verdict, name, verdict.stand_ins) == (Outcome.DIRECTION, "paper", ())


def test_sums_need_no_record(store):
    verdict, name = judgement.judge(claim("5.1.2-filters-total"), store)
    assert (verdict.verdict, name) == (Outcome.HOLDS, "")


def test_swap_curves_are_read_from_records(store):
    run = rows("figure4", profile("small"))["blur"][0]
    assert judgement.swap_curves("small", "blur", store) is None
    accuracy = {layer: np.linspace(0.1 * i, 0.9, 30).reshape(5, 6).tolist() for i, layer in enumerate(run.layers, 1)}
    outcome = {"accuracy": accuracy, "distorted_accuracy": [0.25] * 6, "images": 1000}
    store.put(Record(run.description, outcome, {}, {}))
    put(store, run.base)
    curves = judgement.swap_curves("small", "blur", store)
    assert list(curves) == list(run.layers) and curves["conv1"].shape == (5, 6)
    assert curves.runs == (run.id,) and curves.before.tolist() == [0.25] * 6
    verdict, name = judgement.judge(claim("4.1-best-layer-cifar100-blur"), store)
    assert (verdict.verdict, name) == (Outcome.CONTRADICTED, "small") and curves.after == ()
    bits = {layer: np.arange(1000) < 1000 * np.array(values)[..., None] for layer, values in accuracy.items()}
    store.put(Record(run.description, outcome | {"correct_after": {k: pack_bits(b) for k, b in bits.items()}}, {}, {}))
    curves = judgement.swap_curves("small", "blur", store)
    assert all(np.array_equal(curves.after[0][layer], bits[layer]) for layer in run.layers)
    verdict, name = judgement.judge(claim("4.1-best-layer-cifar100-blur"), store)
    assert (verdict.verdict, name) == (Outcome.CONTRADICTED, "small") and verdict.interval[1] < 0


def test_verdicts_on_a_page(store):
    put_baseline(store)
    put(store, run_of("Finetune-1"), share=0.4)
    put(store, run_of("Deepcorr-1"), share=0.8)
    html = notebook.verdict(("5.1.2",), store).data
    assert all(words in html for words in ("✓ holds", "≈ holds in direction", "<details><summary>", "… not run yet"))
    assert html.index("✓ holds") < html.rindex("<details>")


def test_section_without_any_verdict_says_so(store):
    html = notebook.verdict(("5.1.1",), store).data
    assert "No claim of Section 5.1.1 is judged yet." in html and "There is no record yet" in html


def test_caption_stands_outside_of_the_scrolling_table(store):
    html = notebook.table(tables.styled("table1", "small", store), below="Made with `dclib run`; *not run yet*.").data
    assert html.index("Table 1.") < html.index("overflow-x:auto") < html.index("<table")
    assert "<caption>" not in html and ">dclib run</code>; <em>not run yet</em>" in html
    assert 'tabindex="0" role="region" aria-label="Table 1.' in html


def test_equal_records_give_equal_html(store):
    first, second = (notebook.table(tables.styled("table3", "small", store)).data for _ in range(2))
    assert first == second


def test_live_runs_lie_beside_the_records_but_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("DCLIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("DCLIB_MINIATURE", raising=False)
    assert notebook.live_folder("miniature") == tmp_path / "miniature"
    assert notebook.live_folder("smoke") == tmp_path / "smoke"
    assert notebook.live_folder("small") == tmp_path / "results"
    monkeypatch.setenv("DCLIB_MINIATURE", str(tmp_path / "elsewhere"))
    assert notebook.live_folder("miniature") == tmp_path / "elsewhere"


def test_live_run_is_made_once(monkeypatch, tmp_path):
    from dclib.experiments import baseline, baseline_under

    monkeypatch.setenv("DCLIB_MINIATURE", str(tmp_path))
    page = notebook.live("smoke")
    run = baseline_under(page.profile, "blur")
    (first,) = page.make(run)
    (second,) = page.make(run)
    assert first.environment == second.environment and first.accuracy.shape == (7,)
    assert page.store.get(baseline(page.profile)) is not None and isinstance(page.store, Store)


@pytest.mark.parametrize(
    "given, meant", [(False, False), (True, True), ("false", False), ("true", True), ("False", False), (" TRUE ", True)]
)
def test_recompute_in_words(given, meant):
    """papermill -p recompute false arrives as text."""
    assert notebook.live("smoke", recompute=given).recompute is meant


@pytest.mark.parametrize(
    "parameters, said",
    [
        ({"recompute": "nope"}, "true or false"),
        ({"recompute": ""}, "true or false"),
        ({"recompute": 0}, "true or false"),
        ({"recompute": None}, "true or false"),
        ({"seed": 1.5}, "whole number"),
        ({"seed": -1}, "whole number"),
        ({"seed": "3"}, "-p seed 3"),
        ({"seed": True}, "whole number"),
        ({"seed": 2**32}, "whole number"),
        ({"seed": 3.0}, "whole number"),
        ({"device": "gpu"}, "device"),
        ({"device": 0}, "device"),
        ({"device": "cuda:99"}, "device"),
        ({"profile_name": "Smoke"}, "profile"),
        ({"profile_name": ["smoke"]}, "profile"),
        ({"profile_name": None}, "profile"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters, said):
    with refused(said, repr(*parameters.values())):
        notebook.live(**{"profile_name": "smoke"} | parameters)


def test_words_reach_a_notebook_through_papermill(tmp_path):
    """As the how-to page says it: papermill's own reading of its command line."""
    from papermill.cli import _resolve_type

    assert [_resolve_type(word) for word in ("false", "3")] == ["false", 3]
    page = notebook.live("smoke", recompute=_resolve_type("false"), seed=_resolve_type("3"))
    assert not page.recompute and page.seed == 3


def test_tiles_are_those_of_the_test_patches():
    page = notebook.live("smoke")
    assert len(page.tiles) == 19 * page.profile.photographs[2] > len(np.unique(page.tiles))
    assert notebook.live("small").tiles is None


def test_claims_in_miniature_say_their_unit():
    rng = np.random.default_rng(0)
    worse = np.repeat(rng.random((2, 12)) < 0.4, 50, axis=1)
    better = worse | np.repeat(rng.random(12) < 0.25, 50)
    tiles = np.repeat(np.arange(12), 50)
    shown = [notebook.claims_in_miniature([("A beats B.", better, worse, 0)], "here", units).data for units in (None, tiles)]
    assert "interval over images" in shown[0] and "✓" in shown[0]
    assert "interval over tiles" in shown[1] and "○" in shown[1]  # inconclusive


def test_claims_in_miniature_are_judged_by_their_intervals():
    rng = np.random.default_rng(0)
    worse = rng.random((2, 500)) < 0.5
    better = worse | (rng.random((2, 500)) < 0.2)
    assert judgement.judge_in_miniature(better, worse, 0)[0] == Outcome.HOLDS
    gain = better.mean() - worse.mean()
    assert judgement.judge_in_miniature(better, worse, gain - 1e-6)[0] == Outcome.INCONCLUSIVE
    outcome, interval = judgement.judge_in_miniature(worse, better, 0)
    assert outcome == Outcome.CONTRADICTED and interval.estimate == pytest.approx(-gain) and interval.high < 0
    shown = notebook.claims_in_miniature([("A beats B.", better, worse, 0), ("B beats A.", worse, better, 0)], "here").data
    assert "✓ holds" in shown and "✗ contradicted" in shown and f"{gain:+.3f}" in shown
