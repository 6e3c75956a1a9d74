"""Charts as evidence: the finding in words, nothing bridged, nothing flattened, nothing cut."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.reports.charts import HEIGHT, WIDTH, Curve, Panel, finding, loss_panel, three
from runner.results import Outcome

SVG = "{http://www.w3.org/2000/svg}"


def curve(label="job 1", count=50, start=2.0, slope=-0.02, outcome=Outcome.PASSED, lost_at=None):
    points = tuple(
        (step, None if lost_at is not None and step >= lost_at else start + slope * step) for step in range(count)
    )
    return Curve(label=label, points=points, outcome=outcome)


def drawn(*curves, **kwargs):
    panel = Panel(title="dpo_standard", curves=tuple(curves), **kwargs)
    return ET.fromstring(loss_panel(panel)), panel


def texts(svg):
    return ["".join(node.itertext()) for node in svg.iter(f"{SVG}text")]


def test_a_chart_says_its_finding_in_words():
    svg, _ = drawn(curve(), curve("job 4", start=0.7, slope=0.01, outcome=Outcome.FAILED))
    assert svg.find(f"{SVG}desc").text == "job 4 rises from 0.700 to 1.19"
    assert svg.get("role") == "img"
    assert "job 4 ✗" in texts(svg)


def test_labels_of_negative_values_are_not_cut_off():
    svg, _ = drawn(curve(start=-0.0213, slope=-0.0101))
    labels = [node for node in svg.iter(f"{SVG}text") if node.get("text-anchor") == "end" and node.text[0] == "-"]
    assert labels
    assert all(float(node.get("x")) >= 7 * len(node.text) for node in labels)


def test_three_that_passed_are_a_band_and_two_are_lines():
    three_, _ = drawn(*(curve(f"job {number}") for number in (1, 2, 3)))
    two, _ = drawn(*(curve(f"job {number}") for number in (1, 2)))
    assert three_.find(f".//{SVG}path[@class='c-band']") is not None
    assert two.find(f".//{SVG}path[@class='c-band']") is None
    assert len(two.findall(f".//{SVG}path[@class='c-good']")) == 2


def test_lost_numbers_are_marked_and_never_bridged():
    svg, _ = drawn(curve(outcome=Outcome.FAILED, lost_at=20))
    assert "✗ job 1: no number at 20" in texts(svg)
    nan = Curve(
        label="job 1", points=((0, 1.0), (1, 0.9), (2, float("nan")), (3, 0.8), (4, 0.7)), outcome=Outcome.FAILED
    )
    path = drawn(nan)[0].find(f".//{SVG}path[@class='c-bad']").get("d")
    assert path.count("M") == 2


def test_a_job_whose_numbers_cease_between_others_is_named_once_above_them():
    lost = Curve(
        label="job 2", points=tuple((step, 2.0 if step < 20 else None) for step in range(100)), outcome=Outcome.FAILED
    )
    found = texts(drawn(curve(), lost)[0])
    assert [text for text in found if "job 2" in text] == ["✗ job 2: no number at 20"]
    assert "✗" in found
    both = texts(drawn(curve(), lost, dataclasses.replace(lost, label="job 3"))[0])
    assert {"✗ 2 jobs: no number at 20", "job 2 ✗", "job 3 ✗"} <= set(both)


def test_a_step_that_never_had_the_metric_is_no_loss_of_it():
    mixed = Curve(label="job 1", points=((0, 1.0), (1, None), (2, 0.8), (3, None)))
    svg, _ = drawn(mixed)
    assert not [text for text in texts(svg) if "no number" in text]


def with_holes(*, tail: int) -> Curve:
    """A loss that is null for four steps after each evaluation, and at the end for so many."""
    silent = {*range(50, 54), *range(100, 104)}
    points = [(step, None if step in silent else 2 - step / 100) for step in range(1, 120)]
    return Curve(label="job 1", points=(*points, *((120 + step, None) for step in range(tail))))


def test_the_hole_after_an_evaluation_is_no_loss_of_the_metric():
    svg, _ = drawn(with_holes(tail=4))
    assert not [text for text in texts(svg) if "no number" in text]


def test_a_job_that_passed_is_not_marked_as_bad_where_its_numbers_cease():
    svg, _ = drawn(with_holes(tail=12))
    assert "? job 1: no number at 120" in texts(svg)
    assert svg.find(f".//{SVG}path[@class='c-bad']") is None


def test_one_exploding_job_does_not_flatten_the_others():
    svg, _ = drawn(curve(), curve("job 2", start=2.0, slope=3.0, outcome=Outcome.FAILED))
    assert any(text.startswith("▲ 149") for text in texts(svg))
    assert "2.49" in texts(svg)


def test_no_numbers_is_a_panel_that_says_why():
    svg, panel = drawn(Curve(label="job 1", points=()), why_empty="this trainer posts no metrics")
    assert finding(panel) == "this trainer posts no metrics"
    assert "? no numbers" in texts(svg)


def test_the_value_that_a_criterion_demands_is_drawn():
    svg, _ = drawn(curve(), threshold=(1.5, "below 1.5"))
    assert "below 1.5" in texts(svg)


def test_thousands_of_points_shrink_and_every_spike_survives():
    spiky = Curve(
        label="job 1", points=tuple((step, 9.0 if step == 1234 else 1.0 + step / 1e5) for step in range(5000))
    )
    text = str(loss_panel(Panel(title="x", curves=(spiky,))))
    assert len(text) < 9_000
    assert "9.00" in text


def test_labels_do_not_lie_on_each_other():
    svg, _ = drawn(*(curve(f"job {number}", outcome=Outcome.FAILED) for number in range(1, 6)))
    places = [float(node.get("y")) for node in svg.iter(f"{SVG}text") if "✗" in "".join(node.itertext())]
    gaps = [later - one for one, later in zip(sorted(places), sorted(places)[1:], strict=False)]
    assert min(gaps) >= 12


def test_a_standalone_chart_brings_both_palettes_and_an_opaque_background():
    text = str(loss_panel(Panel(title="x", curves=(curve(),)), standalone=True))
    assert "prefers-color-scheme:dark" in text
    assert f'<rect class="c-bg" width="{WIDTH}" height="{HEIGHT}"/>' in text


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (1.2345, "1.23"), (0.0123, "0.0123"), (12345.6, "12346"), (1e-7, "1.00e-07")]
)
def test_three_significant_digits(value, shown):
    assert three(value) == shown


values = st.one_of(st.none(), st.floats(width=32), st.floats(min_value=-1e9, max_value=1e9))
curves = st.lists(
    st.builds(
        Curve,
        label=st.sampled_from(["job 1", "loss", "a<b&c"]),
        points=st.lists(st.tuples(st.integers(0, 10_000), values), max_size=30).map(
            lambda found: tuple(sorted(dict(found).items()))
        ),
        outcome=st.sampled_from([None, *Outcome]),
    ),
    max_size=6,
)


@given(curves=curves, threshold=st.one_of(st.none(), st.floats()))
def test_any_numbers_make_a_picture_inside_its_frame(curves, threshold):
    panel = Panel(title="t", curves=tuple(curves), threshold=None if threshold is None else (threshold, "w"))
    text = str(loss_panel(panel))
    svg = ET.fromstring(text)
    assert not re.search(r'd="[^"]*(nan|inf)', text)
    for node in svg.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", node.get("d"))]
        assert all(-1 <= number <= WIDTH + 1 for number in numbers)
