"qhn.plots: what is drawn is what came in, on the axes that were given, with no setting left changed."
import matplotlib

matplotlib.use("Agg")

import ast
import inspect

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from qhn import plots

RNG = np.random.default_rng(0)
CURVES = {"MLE": RNG.normal(size=(5, 40)), "ELBO": RNG.normal(size=(7, 60))}
POSTERIOR = np.array([0.05, 0.4, 0.1, 0.3, 0.15, 0.0, 0.0, 0.0])
POINTS, LABELS = RNG.normal(size=(30, 2)), np.arange(30) % 2
IMAGES = RNG.uniform(-1, 1, size=(7, 4, 3))
EXACT = np.array([0.1, -2.0, 1.0])
DIAGRAM = np.array([[0.55, 0.7, 0.9], [0.5, 0.8, 0.98], [0.1, 0.05, 0.03], [10, 30, 60]])


def first_coordinate(points): return 1 / (1 + np.exp(-points[:, 0]))


DRAWN = {
    "learning_curves": lambda ax=None: plots.learning_curves(CURVES, evidence=-3.0, ax=ax),
    "sorted_posterior": lambda ax=None: plots.sorted_posterior(POSTERIOR, {"flat": np.full(8, 1 / 8)}, ax=ax),
    "decision_boundary": lambda ax=None: plots.decision_boundary(first_coordinate, POINTS, LABELS, ax=ax),
    "evidence_gap": lambda ax=None: plots.evidence_gap({"ELBO": np.exp(CURVES["ELBO"])}, evidence=0.0, ax=ax),
    "boundary with spread": lambda ax=None: plots.decision_boundary(first_coordinate, POINTS, LABELS, ax=ax, spread=lambda points: np.full(len(points), 0.1)),
    "reliability": lambda ax=None: plots.reliability({"model": DIAGRAM}, ax=ax),
    "digit_images": lambda ax=None: plots.digit_images(IMAGES, titles=list("abcdefg"), n_columns=3, ax=ax),
    "weight_images": lambda ax=None: plots.weight_images(IMAGES, n_columns=3, ax=ax),
    "bond_profile": lambda ax=None: plots.bond_profile({"brick": [2, 4, 2], "product": [1, 1, 1]}, ax=ax),
    "gradient_comparison": lambda ax=None: plots.gradient_comparison(EXACT, {"score": RNG.normal(size=(9, 3))}, ax=ax),
    "kernel_spectrum": lambda ax=None: plots.kernel_spectrum({"wide": [0.5, 0.3, 0.2]}, ax=ax),
}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def legend(ax): return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("name", DRAWN)
def test_ax_in_is_ax_out_and_none_makes_one(name):
    fig, axes = plt.subplots(1, 2)
    assert DRAWN[name](axes[1]) is axes[1]
    assert axes[1].has_data() and not axes[0].has_data() and plt.get_fignums() == [fig.number]
    made = DRAWN[name]()
    assert made.figure is not fig and made.has_data()
    made.figure.canvas.draw()


@pytest.mark.parametrize("name", DRAWN)
def test_settings_of_the_user_are_left_alone(name):
    before = dict(matplotlib.rcParams)
    DRAWN[name]()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", [name for name in DRAWN if not name.endswith("images")])
def test_axes_are_labelled_and_have_a_legend(name):
    ax = DRAWN[name]()
    assert ax.get_xlabel() and ax.get_ylabel() and legend(ax)


def test_style_holds_inside_the_block_only_even_after_an_error():
    before = dict(matplotlib.rcParams)
    with pytest.raises(KeyError), plots.style():
        assert matplotlib.rcParams["figure.figsize"] == [7, 3.2]
        raise KeyError
    assert dict(matplotlib.rcParams) == before


def test_style_keeps_what_a_backend_switches_on_inside():
    "Interactive display, as a notebook's backend turns it on with its first figure."
    was = matplotlib.is_interactive()
    try:
        matplotlib.interactive(False)
        with plots.style(): matplotlib.interactive(True)
        assert matplotlib.is_interactive()
    finally: matplotlib.interactive(was)


def test_module_imports_nothing_of_the_package():
    tree = ast.parse(inspect.getsource(plots))
    imported = [node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert imported and not any(name.split(".")[0] in ("qhn", "") for name in imported)


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_learning_curves_draw_median_and_quartiles(convert):
    ax = plots.learning_curves({label: convert(runs) for label, runs in CURVES.items()})
    assert legend(ax) == list(CURVES)
    for line, band, runs in zip(ax.get_lines(), ax.collections, CURVES.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(runs.shape[1]))
        np.testing.assert_allclose(line.get_ydata(), np.median(runs, axis=0))
        edge = band.get_paths()[0].vertices
        at_nine = np.sort(edge[edge[:, 0] == 9, 1])
        np.testing.assert_allclose(at_nine[[0, -1]], np.quantile(runs[:, 9], (0.25, 0.75)))


def test_learning_curves_draw_mean_and_standard_error():
    runs = CURVES["MLE"]
    ax = plots.learning_curves({"MLE": runs}, centre="mean")
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), runs.mean(0))
    edge = ax.collections[0].get_paths()[0].vertices
    half = np.ptp(edge[edge[:, 0] == 9, 1]) / 2
    assert half == pytest.approx(np.sqrt(np.sum((runs[:, 9] - runs[:, 9].mean()) ** 2) / 4 / 5))


@pytest.mark.parametrize("centre", ["median", "mean"])
def test_one_seed_has_no_band(centre):
    ax = plots.learning_curves({"one": CURVES["MLE"][:1]}, centre=centre)
    assert not ax.collections
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), CURVES["MLE"][0])


def test_evidence_is_a_labelled_line_at_its_negative():
    ax = plots.learning_curves(CURVES, evidence=jnp.float64(-3.25))
    line = ax.get_lines()[-1]
    assert set(line.get_ydata()) == {3.25} and line.get_label() == legend(ax)[-1] == "−log evidence"


def test_lines_differ_by_more_than_colour():
    ax = plots.learning_curves({str(k): CURVES["MLE"] for k in range(7)})
    for look in ("get_color", "get_marker", "_get_dash"):
        pick = (lambda line: str(line._dash_pattern)) if look == "_get_dash" else (lambda line: getattr(line, look)())
        assert len({pick(line) for line in ax.get_lines()}) == 7


def test_sorted_posterior_orders_by_the_exact_one():
    rival = RNG.dirichlet(np.ones(8))
    ax = plots.sorted_posterior(POSTERIOR, {"rival": rival}, top=4)
    exact, other = ([bar.get_height() for bar in bars] for bars in ax.containers)
    np.testing.assert_allclose(exact, [0.4, 0.3, 0.15, 0.1])
    np.testing.assert_allclose(other, rival[[1, 3, 4, 2]])
    assert legend(ax) == ["exact (95% shown)", f"rival ({rival[[1, 3, 4, 2]].sum():.0%} shown)"]
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bars in ax.containers for bar in bars)
    assert all(left[1] <= right[0] + 1e-12 for left, right in zip(edges, edges[1:]))   # side by side, none hidden


def test_sorted_posterior_shows_no_more_than_there_is():
    ax = plots.sorted_posterior(POSTERIOR, top=100)
    assert [len(bars) for bars in ax.containers] == [8] and legend(ax) == ["exact (100% shown)"]


def test_plane_grid_covers_the_points_row_by_row():
    grid = plots.plane_grid(POINTS, n_grid=5)
    assert grid.shape == (25, 2)
    assert (grid.min(0) < POINTS.min(0)).all() and (grid.max(0) > POINTS.max(0)).all()
    np.testing.assert_allclose(grid[1] - grid[0], [1.2 * np.ptp(POINTS[:, 0]) / 4, 0], atol=1e-8)
    np.testing.assert_allclose(grid[:5, 1], grid[0, 1])


@pytest.mark.parametrize("form", ["function", "two columns", "values", "square"])
def test_decision_boundary_lies_where_the_probability_is_half(form):
    grid = plots.plane_grid(POINTS, 50)
    values = first_coordinate(grid)
    predict = {"function": first_coordinate, "values": values, "square": values.reshape(50, 50),
               "two columns": lambda points: np.c_[1 - first_coordinate(points), first_coordinate(points)]}[form]
    ax = plots.decision_boundary(predict, POINTS, LABELS, n_grid=50)
    boundary = next(artist for artist in ax.collections if isinstance(artist, matplotlib.contour.QuadContourSet) and not artist.filled)
    path = boundary.get_paths()[0].vertices
    np.testing.assert_allclose(path[:, 0], 0, atol=1e-3)
    assert np.ptp(path[:, 1]) == pytest.approx(np.ptp(grid[:, 1]))
    assert legend(ax) == ["class 0", "class 1"] and len(ax.figure.axes) == 2
    classes = [artist for artist in ax.collections if isinstance(artist, matplotlib.collections.PathCollection)]
    for k, artist in enumerate(classes): np.testing.assert_array_equal(artist.get_offsets(), POINTS[LABELS == k])


def test_spread_hatches_where_one_half_is_within_it():
    grid = plots.plane_grid(POINTS, 50)
    ax = plots.decision_boundary(first_coordinate, POINTS, LABELS, n_grid=50, spread=np.full(2500, 0.2))
    assert legend(ax) == ["class 0", "class 1", "½ ± spread"]
    band = ax.collections[-1].get_paths()[0].vertices
    edge = np.log(0.7 / 0.3)    # where the probability is 0.5 + 0.2
    assert band[:, 0].min() == pytest.approx(-edge, abs=0.02) and band[:, 0].max() == pytest.approx(edge, abs=0.02)
    plots.decision_boundary(np.ones(100), POINTS, LABELS, n_grid=10, spread=np.zeros(100)).figure.canvas.draw()    # nothing to hatch


def test_evidence_gap_is_the_distance_above_the_evidence():
    runs = np.array([[5.0, 4.0, 2.5], [6.0, 3.0, 1.5], [7.0, 5.0, 2.6]])
    ax = plots.evidence_gap({"ELBO": runs}, evidence=-2.0)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [4, 2, 0.5])
    assert ax.get_yscale() == "log" and legend(ax) == ["ELBO"]
    ax.figure.canvas.draw()


def test_a_sure_prediction_has_no_boundary():
    ax = plots.decision_boundary(np.ones(100), POINTS, LABELS, n_grid=10)
    assert sum(isinstance(artist, matplotlib.contour.QuadContourSet) for artist in ax.collections) == 1


def test_reliability_draws_claims_against_frequencies():
    ax = plots.reliability({"model": DIAGRAM, "other": DIAGRAM[:, :1]})
    assert legend(ax) == ["model, ECE 0.083", "other, ECE 0.050", "calibrated"]    # (10 · 0.05 + 30 · 0.1 + 60 · 0.08) / 100
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), DIAGRAM[:2].T)
    bars = ax.containers[0][2][0].get_segments()
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.3, 0.7], [0.7, 0.9], [0.92, 1.0]])    # two spreads, not beyond 1
    np.testing.assert_array_equal(ax.get_lines()[-1].get_xydata(), [[0.55, 0.55], [0.9, 0.9]])
    sizes = [artist for artist in ax.collections if isinstance(artist, matplotlib.collections.PathCollection)][0].get_sizes()
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("draw", [plots.digit_images, plots.weight_images])
def test_every_image_is_on_the_sheet_in_order(draw):
    ax = draw(IMAGES, titles=list("abcdefg"), n_columns=3)
    sheet = np.ma.filled(ax.get_images()[0].get_array(), np.nan)
    assert np.isfinite(sheet).sum() == IMAGES.size
    for k, frame in enumerate(ax.patches):
        left, top = (round(corner + 0.5) for corner in frame.get_xy())
        np.testing.assert_array_equal(sheet[top:top + 4, left:left + 3], IMAGES[k])
    assert len(ax.patches) == 7 and [text.get_text() for text in ax.texts] == list("abcdefg")
    assert [frame.get_y() for frame in ax.patches] == sorted(frame.get_y() for frame in ax.patches)


def test_weights_are_white_at_zero_and_span_minus_one_to_one():
    image = plots.weight_images(IMAGES / 2).get_images()[0]
    assert image.get_clim() == (-1, 1)
    np.testing.assert_allclose(image.cmap(0.5)[:3], 1, atol=0.01)
    assert [matplotlib.colors.to_hex(image.cmap(end)).upper() for end in (0.0, 1.0)] == list(plots.PALETTE[:2])


def test_blank_images_can_be_drawn():
    plots.digit_images(np.zeros((2, 4, 4))).figure.canvas.draw()


def test_bond_profile_steps_at_every_cut():
    ax = plots.bond_profile({"brick": jnp.array([2, 4, 2]), "product": [1, 1, 1]})
    assert legend(ax) == ["brick", "product"] and ax.get_yscale() == "log"
    line = ax.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3]); np.testing.assert_array_equal(line.get_ydata(), [2, 4, 2])
    assert line.get_drawstyle() == "steps-mid"


def test_gradient_comparison_draws_bias_and_its_standard_error():
    repeats = RNG.normal(size=(50, 3)) + EXACT + 0.5
    ax = plots.gradient_comparison(EXACT, {"score": repeats, "other": repeats}, top=2)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1\n-2", "2\n1"]
    points, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(points.get_ydata(), (repeats.mean(0) - EXACT)[[1, 2]])
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, 2 * np.sqrt(repeats.var(0, ddof=1) / 50)[[1, 2]])
    rms = np.sqrt(np.mean((repeats.mean(0) - EXACT) ** 2))
    assert legend(ax)[0].startswith(f"score: bias {rms:.2g} ±") and len(legend(ax)) == 2


def test_an_exact_estimator_has_bars_of_no_length():
    ax = plots.gradient_comparison(EXACT, {"exact": np.tile(EXACT, (4, 1))})
    assert legend(ax) == ["exact: bias 0 ± 0, one estimate ± 0"]


def test_kernel_spectrum_states_the_mean_number_of_bits():
    ax = plots.kernel_spectrum({"wide": [0.5, 0.25, 0.25], "narrow": [0, 0, 2]})
    assert legend(ax) == ["wide, mean 0.8 bits", "narrow, mean 2.0 bits"]
    np.testing.assert_array_equal(ax.get_lines()[1].get_ydata(), [0, 0, 2])


@pytest.mark.parametrize("call, message", [
    (lambda: plots.learning_curves([1, 2]), "curves must be a dictionary.*got list"),
    (lambda: plots.learning_curves({}), "curves must be a dictionary of one array or more"),
    (lambda: plots.learning_curves({"a": np.ones(3)}), r"curves\['a'\] must have shape \(n_seeds, n_steps\), got \(3,\)"),
    (lambda: plots.learning_curves({"a": np.ones((0, 3))}), r"curves\['a'\].*got \(0, 3\)"),
    (lambda: plots.learning_curves(CURVES, centre="mode"), "centre must be 'median' or 'mean'.*'mode'"),
    (lambda: plots.sorted_posterior(POSTERIOR, {"q": POSTERIOR[:4]}), r"approximations\['q'\].*\(8\), got \(4,\)"),
    (lambda: plots.sorted_posterior(POSTERIOR, top=0), "top must be at least 1, got top=0"),
    (lambda: plots.sorted_posterior(POSTERIOR - 0.2), "posterior must hold probabilities between 0 and 1, got values from -"),
    (lambda: plots.sorted_posterior(POSTERIOR * np.nan), "posterior must hold probabilities between 0 and 1, got values from nan"),
    (lambda: plots.sorted_posterior(POSTERIOR, {"q": 2 * POSTERIOR}), r"approximations\['q'\] must sum to one, got a sum of 2"),
    (lambda: plots.sorted_posterior(POSTERIOR, {"q": 9 * POSTERIOR}), r"approximations\['q'\] must hold probabilities between 0 and 1"),
    (lambda: plots.decision_boundary(first_coordinate, POINTS[:, :1], LABELS), r"x must have shape \(N, 2\), got \(30, 1\)"),
    (lambda: plots.decision_boundary(first_coordinate, POINTS, LABELS[:4]), r"y must have shape \(30\), got \(4,\)"),
    (lambda: plots.decision_boundary(first_coordinate, POINTS, LABELS + 1), r"labels 0 and 1 only, got \[1.0, 2.0\]"),
    (lambda: plots.decision_boundary(np.ones(9), POINTS, LABELS), r"predict must give 10000 .*got \(9,\)"),
    (lambda: plots.decision_boundary(np.full(100, 1.5), POINTS, LABELS, n_grid=10), "between 0 and 1, got values from 1.5"),
    (lambda: plots.decision_boundary(np.full(100, np.nan), POINTS, LABELS, n_grid=10), "between 0 and 1, got values from nan"),
    (lambda: plots.plane_grid(POINTS, 1), "n_grid must be at least 2, got n_grid=1"),
    (lambda: plots.evidence_gap({"a": np.ones((2, 3))}, evidence=-1.5), r"curves\['a'\] must lie above -evidence=1.5, got at most 1"),
    (lambda: plots.evidence_gap({"a": np.ones(3)}, evidence=1.0), r"curves\['a'\] must have shape \(n_seeds, n_steps\), got \(3,\)"),
    (lambda: plots.decision_boundary(first_coordinate, POINTS, LABELS, spread=np.ones(9)), r"spread must give 10000 standard deviations .*got \(9,\)"),
    (lambda: plots.decision_boundary(np.ones(100), POINTS, LABELS, n_grid=10, spread=np.full(100, -1)), "spread must give standard deviations between 0 and 1"),
    (lambda: plots.reliability({"a": DIAGRAM[:3]}), r"diagrams\['a'\] must have shape \(4, bins\), got \(3, 3\)"),
    (lambda: plots.reliability({"a": DIAGRAM * [[1], [1], [1], [0]]}), r"diagrams\['a'\] must have at least 1 claim in every bin, got 0"),
    (lambda: plots.reliability({"a": DIAGRAM * [[1], [1], [1], [np.inf]]}), r"diagrams\['a'\] must have at least 1 claim in every bin"),
    *((lambda row=row, value=value: plots.reliability({"a": np.where(np.arange(4)[:, None] == row, value, DIAGRAM)}),
       r"diagrams\['a'\] must hold claimed probabilities, frequencies and spreads between 0 and 1") for row in range(3) for value in (-0.5, 1.5, np.nan, np.inf)),
    (lambda: plots.weight_images(IMAGES[0]), r"weights must have shape \(N, rows, columns\), got \(4, 3\)"),
    (lambda: plots.digit_images(IMAGES, titles=["a"]), "titles must name the 7 images, got 1"),
    (lambda: plots.digit_images(IMAGES, n_columns=0), "n_columns must be at least 1, got n_columns=0"),
    (lambda: plots.bond_profile({"a": [2, 0]}), r"dims_by_label\['a'\] must be at least 1 at every cut, got 0"),
    (lambda: plots.gradient_comparison(EXACT, {"a": np.ones((4, 2))}), r"estimates\['a'\] must have shape \(n_repeats, 3\), got \(4, 2\)"),
    (lambda: plots.gradient_comparison(EXACT, {"a": np.ones((1, 3))}), "at least 2 repeats"),
    (lambda: plots.gradient_comparison(EXACT, {"a": np.ones((2, 3))}, top=0), "top must be at least 1"),
    (lambda: plots.kernel_spectrum({"a": [0.5, -0.1]}), r"shares\['a'\] must be non-negative.*-0.1"),
    (lambda: plots.kernel_spectrum({"a": [0.0, 0.0]}), r"shares\['a'\] must be non-negative and not all zero"),
])
def test_wrong_input_is_named_and_opens_no_figure(call, message):
    with pytest.raises(ValueError, match=message): call()
    assert not plt.get_fignums()
