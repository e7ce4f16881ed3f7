"""The small pictures of the metric and ranking pages, drawn with matplotlib at build time.

`metric_picture(name)` and `scheme_picture(...)` return SVG; nothing of it is committed. The colors are Okabe
and Ito's.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import docs_examples as examples
import matplotlib
import numpy as np

from bratseval.metrics.registry import METRICS

matplotlib.use("svg")
matplotlib.rcParams |= {
    "svg.hashsalt": "bratseval",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
from matplotlib import pyplot as plt  # noqa: E402  (after the backend)
from matplotlib.patches import Circle, FancyBboxPatch, Patch  # noqa: E402

BLUE, ORANGE, GREEN, RED, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8a8a8a"
KINDS = {"true positive": GREEN, "false positive": ORANGE, "false negative": BLUE}
WIDE, NARROW = (7.2, 2.9), (4.6, 2.9)


def as_svg(figure: Any) -> str:
    """The figure as text, the same bytes every time."""
    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


def metric_picture(name: str) -> str:
    """The example of a metric, drawn."""
    return as_svg(_DRAWN[METRICS[name].reads](name))


def _plain(axes: Any, title: str = "") -> None:
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=9)


def _masks(axes: Any) -> None:
    """The two masks by kind of voxel, with their outlines."""
    reference, prediction = examples.masks()
    picture = np.ones((*reference.shape, 4)) * (1, 1, 1, 0)
    for mask, color in (
        (reference & prediction, GREEN),
        (prediction & ~reference, ORANGE),
        (reference & ~prediction, BLUE),
    ):
        picture[mask] = (*matplotlib.colors.to_rgb(color), 0.75)
    axes.imshow(picture, origin="lower", interpolation="nearest")
    axes.contour(reference, [0.5], colors=BLUE, linewidths=1.6)
    axes.contour(prediction, [0.5], colors=RED, linewidths=1.6, linestyles="dashed")


def _overlap(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    _masks(axes)
    _plain(axes)
    counts = examples.overlap()
    amounts = (counts.tp, counts.fp, counts.fn)
    handles = [Patch(color=c, label=f"{k}: {n}") for (k, c), n in zip(KINDS.items(), amounts, strict=True)]
    if METRICS[name].reads == "agreement":
        handles.append(Patch(facecolor="white", edgecolor=GRAY, label=f"true negative: {counts.tn}"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncol=2, frameon=False)
    return figure


def _distances(name: str) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1.25, 1))
    reference, prediction = examples.masks()
    left.contour(reference, [0.5], colors=BLUE, linewidths=1.8)
    left.contour(prediction, [0.5], colors=RED, linewidths=1.8, linestyles="dashed")
    from scipy import ndimage

    for source, target, color in ((reference, prediction, BLUE), (prediction, reference, RED)):
        _, nearest = ndimage.distance_transform_edt(~examples.edge(target), return_indices=True)
        for y, x in np.argwhere(examples.edge(source))[::5]:
            left.plot([x, nearest[1, y, x]], [y, nearest[0, y, x]], color=color, linewidth=0.7)
    _plain(left, "boundaries and nearest points")
    distances = examples.record_of(METRICS[name])
    bins = np.arange(0, 11, 0.5)
    right.hist([distances.reference, distances.prediction], bins, color=[BLUE, RED], stacked=True, alpha=0.75)
    if name == "nsd":
        tolerance = examples.GIVEN["nsd"]["tolerance_mm"]
        right.axvspan(0, tolerance, color=GREEN, alpha=0.25)
        right.axvline(tolerance, color="black", linewidth=1.2)
        right.set_title(f"within {tolerance:g} mm: {examples.value_of(name):.3f}", fontsize=9)
    else:
        right.axvline(examples.value_of(name), color="black", linewidth=1.5)
        right.set_title(f"{name} = {examples.value_of(name):.2f} mm", fontsize=9)
    right.set_xlabel("distance, mm")
    right.set_ylabel("boundary points")
    figure.legend(
        handles=[Patch(color=BLUE, label="reference"), Patch(color=RED, label="prediction")],
        loc="lower left", bbox_to_anchor=(0.08, -0.04), ncol=2, frameon=False,
    )  # fmt: skip
    return figure


def _detection(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    colors = {"tp": GREEN, "fn": BLUE, "fp": ORANGE}
    for one in examples.lesions():
        filled = one.side == "reference"
        axes.add_patch(
            Circle(
                (one.x, one.y),
                one.radius,
                facecolor=colors[one.kind] if filled else "none",
                alpha=0.75,
                edgecolor="none" if filled else RED,
                linewidth=1.8,
                linestyle="--",
            )
        )
        if one.side == "reference" or one.kind == "fp":
            axes.text(one.x, one.y + one.radius + 0.8, one.kind.upper(), ha="center", fontsize=8)
    axes.set_xlim(0, 60)
    axes.set_ylim(2, 40)
    _plain(axes)
    handles = [Patch(color=GREEN, label="found: 3"), Patch(color=BLUE, label="missed: 2")]
    handles.append(Patch(facecolor="none", edgecolor=RED, linestyle="--", label="predicted (1 spurious)"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncol=3, frameon=False)
    return figure


def _landmarks(name: str) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    points = examples.landmarks()
    for before, after in zip(points.moving, points.predicted, strict=True):
        left.annotate("", after, before, arrowprops={"arrowstyle": "->", "color": GRAY, "lw": 0.8})
    left.scatter(*points.moving.T, color=GRAY, s=14, label="before")
    left.scatter(*points.reference.T, color=BLUE, s=26, label="reference")
    left.scatter(*points.predicted.T, color=RED, marker="x", s=26, label="registered")
    if "spread" in name or METRICS[name].name.startswith("hit_rate"):
        radius = 3.0
        for x, y in points.reference:
            left.add_patch(Circle((x, y), radius, fill=False, edgecolor=GREEN, linewidth=1))
    _plain(left)
    left.legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), ncol=3, frameon=False)
    errors = np.sort(points.errors)
    right.step([0, *errors, 10], [0, *(np.arange(9) + 1) / 9, 1], where="post", color=RED)
    if "auc" in name:
        steps = np.concatenate([[0], np.repeat(errors, 2), [10]])
        shares = np.concatenate([np.repeat(np.arange(10) / 9, 2)])
        right.fill_between(steps, shares, color=GREEN, alpha=0.25)
    if METRICS[name].unit == "mm" and name != "initial_mee":
        right.axvline(examples.value_of(name), color="black", linewidth=1.2)
    right.set_xlim(0, 10)
    right.set_ylim(0, 1.03)
    right.set_xlabel("error, mm")
    right.set_ylabel("share of landmarks within")
    right.set_title(f"{name} = {examples.value_of(name):.3g}", fontsize=9)
    figure.tight_layout()
    return figure


def _jacobian(name: str) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    field, determinants = examples.displacement()
    y, x = np.mgrid[:40, :60].astype(float)
    for lines in (slice(None, None, 3),):
        left.plot((x + field[..., 0])[:, lines], (y + field[..., 1])[:, lines], color=BLUE, linewidth=0.6)
        left.plot((x + field[..., 0]).T[:, lines], (y + field[..., 1]).T[:, lines], color=BLUE, linewidth=0.6)
    folded = determinants <= 0
    left.scatter((x + field[..., 0])[folded], (y + field[..., 1])[folded], color=RED, s=6, zorder=3)
    _plain(left, "the warped grid; red where it folds")
    right.hist(determinants.ravel(), 60, color=BLUE, alpha=0.8)
    right.axvspan(min(determinants.min(), -0.1), 0, color=RED, alpha=0.2)
    right.set_yscale("log")
    right.set_xlabel("determinant")
    right.set_ylabel("voxels")
    right.set_title(f"{name} = {examples.value_of(name):.3g}", fontsize=9)
    return figure


def _filtering(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    curves = examples.filtering()
    drawn = {
        "dice_auc": (curves.dice, GREEN, "Dice of what is left"),
        "ftp_ratio_auc": (curves.ftp_ratio, RED, "filtered true positives"),
        "ftn_ratio_auc": (curves.ftn_ratio, BLUE, "filtered true negatives"),
    }
    for key, (curve, color, label) in drawn.items():
        axes.plot(curves.thresholds, curve, color=color, label=label)
        if key == name:
            axes.fill_between(curves.thresholds, curve, color=color, alpha=0.2)
    axes.set_xlabel("uncertainty threshold")
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0, 100)
    axes.set_title(f"{name} = {examples.value_of(name):.3f}", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _raters(name: str) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    raters = examples.raters()
    left.imshow(raters.probability, origin="lower", cmap="Greys", vmin=0, vmax=1)
    for mask, color in zip(raters.masks, (BLUE, GREEN, ORANGE), strict=True):
        left.contour(mask, [0.5], colors=color, linewidths=1.5)
    _plain(left, "probability, and three raters")
    right.imshow(raters.mean, origin="lower", cmap="Greys", vmin=0, vmax=1)
    _plain(right, "share of the raters")
    figure.suptitle(f"{name} = {examples.value_of(name):.3g}", fontsize=9, y=0.06)
    return figure


def _intensity(name: str) -> Any:
    figure, axes = plt.subplots(1, 3, figsize=WIDE)
    images = examples.intensity()
    planes = [one[12] for one in (images.reference, images.prediction)]
    pictures = (*planes, np.abs(planes[0] - planes[1]))
    titles = ("real", "synthetic", "absolute error")
    for one, picture, title in zip(axes, pictures, titles, strict=True):
        one.imshow(picture, origin="lower", cmap="gray", vmin=0, vmax=0.3 if title == titles[2] else 1)
        one.contour(images.region[12], [0.5], colors=ORANGE, linewidths=1.4)
        _plain(one, title)
    figure.suptitle(f"{name} in the orange region = {examples.value_of(name):.4g}", fontsize=9, y=0.1)
    return figure


def _labels(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    confusion = examples.labels().confusion[:3]
    axes.imshow(confusion, cmap="Blues", vmax=12)
    for (row, column), count in np.ndenumerate(confusion):
        axes.text(column, row, str(count), ha="center", va="center")
    axes.set_xticks(range(4), ["0", "1", "2", "missing"])
    axes.set_yticks(range(3), ["0", "1", "2"])
    axes.set_xlabel("submitted label")
    axes.set_ylabel("class")
    axes.set_title(f"{name} = {examples.value_of(name):.3f}", fontsize=9)
    return figure


def _scores(name: str) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    scores = examples.scores()
    positive, values = scores.reference == 1, scores.scores[:, 1]
    bins = np.linspace(0, 1, 16)
    left.hist([values[~positive], values[positive]], bins, color=[BLUE, RED], label=["class 0", "class 1"])
    left.legend(frameon=False)
    left.set_xlabel("score")
    left.set_ylabel("subjects")
    order = np.argsort(-values)
    true, false = np.cumsum(positive[order]), np.cumsum(~positive[order])
    recall = np.r_[0, true / true[-1]]
    if name == "average_precision":
        right.step(recall[1:], true / (true + false), where="post", color=RED)
        right.set_xlabel("recall")
        right.set_ylabel("precision")
    else:
        right.plot(np.r_[0, false / false[-1]], recall, color=RED)
        right.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=0.8)
        right.set_xlabel("1 - specificity")
        right.set_ylabel("sensitivity")
    right.set_ylim(0, 1.03)
    right.set_title(f"{name} = {examples.value_of(name):.3f}", fontsize=9)
    figure.tight_layout()
    return figure


def _times(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    times = examples.times()
    for row, (observed, event, predicted) in enumerate(
        zip(times.observed, times.event, times.predicted, strict=True)
    ):
        axes.plot([0, observed], [row, row], color=GRAY, linewidth=1)
        axes.scatter(
            observed, row, marker="o", facecolor=BLUE if event else "white", edgecolor=BLUE, zorder=3,
            label={0: "event", 2: "censored"}.get(row),
        )  # fmt: skip
        axes.scatter(predicted, row, marker="x", color=RED, label="predicted" if row == 0 else None)
    axes.set_xlabel("time")
    axes.set_yticks([])
    axes.set_title(f"{name} = {examples.value_of(name):.3f}", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _ratings(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    ratings = examples.ratings()
    axes.plot([0, 6], [0, 6], color=GRAY, linestyle="--", linewidth=0.8)
    axes.scatter(ratings.reference, ratings.prediction, color=BLUE)
    missing = np.isnan(ratings.prediction)
    axes.scatter(ratings.reference[missing], [0.05] * missing.sum(), color=RED, marker="x", label="missing")
    axes.set_xlabel("rating of the expert")
    axes.set_ylabel("submitted")
    axes.set_title(f"{name} = {examples.value_of(name):.3f}", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _counts(name: str) -> Any:
    figure, axes = plt.subplots(figsize=(4.6, 1.0))
    counts = examples.record_of(METRICS[name])
    present = counts.subjects - counts.missing
    axes.barh([0], [present], color=GREEN, label=f"with a prediction: {present}")
    axes.barh([0], [counts.missing], left=[present], color=RED, label=f"missing: {counts.missing}")
    axes.set_yticks([])
    axes.legend(frameon=False, ncol=2, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    axes.set_title(f"{counts.subjects} subjects", fontsize=9)
    return figure


def _rounds(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    rounds = examples.rounds()
    ends = np.cumsum(rounds.seconds) / 86_400
    starts = np.r_[0, ends[:-1]]
    best = np.maximum.accumulate(rounds.scores)
    for start, end, value in zip(starts, ends, best, strict=True):
        axes.fill_between([start, end], [value, value], color=GREEN, alpha=0.25, linewidth=0)
    axes.fill_between([ends[-1], 7], [best[-1]] * 2, color=GREEN, alpha=0.15, linewidth=0)
    axes.step([0, *ends, 7], [best[0], *best, best[-1]], where="pre", color=GREEN, label="best so far")
    axes.scatter(ends, rounds.scores, color=BLUE, s=16, zorder=3, label="score of a round")
    axes.axvline(7, color="black", linewidth=1)
    axes.set_xlabel("simulated days")
    axes.set_ylim(0, 1)
    axes.set_title(f"{name} = {examples.value_of(name):.3f}", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _pooled(name: str) -> Any:
    figure, axes = plt.subplots(figsize=NARROW)
    places = np.arange(5)
    if name == "global_dice":
        axes.bar(places - 0.2, examples.SHARED + examples.BOTH, 0.4, color=GRAY, label="|R| + |P|")
        axes.bar(places + 0.2, 2 * examples.SHARED, 0.4, color=GREEN, label="2 |R∩P|")
        axes.set_ylabel("voxels")
    else:
        axes.bar(places - 0.2, examples.BURDENS[0], 0.4, color=BLUE, label="reference")
        axes.bar(places + 0.2, examples.BURDENS[1], 0.4, color=RED, label="prediction")
        axes.set_ylabel("tumor burden")
    axes.set_xticks(places, [f"case {k + 1}" for k in places])
    axes.set_title(f"{name} = {examples.value_of(name):.3f}", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure


_DRAWN: dict[str, Callable[[str], Any]] = {
    "overlap": _overlap,
    "agreement": _overlap,
    "distances": _distances,
    "detection": _detection,
    "landmarks": _landmarks,
    "jacobian": _jacobian,
    "filtering": _filtering,
    "raters": _raters,
    "intensity": _intensity,
    "labels": _labels,
    "scores": _scores,
    "times": _times,
    "ratings": _ratings,
    "counts": _counts,
    "rounds": _rounds,
    "pooled": _pooled,
}


def scheme_picture(steps: Sequence[str], scores: dict[str, float]) -> str:
    """The order of the steps, and the scores of the example."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.2, 2.9), height_ratios=(0.7, 1))
    for index, step in enumerate(steps):
        box = FancyBboxPatch(
            (index * 3, 0), 2.2, 1, boxstyle="round,pad=0.08", facecolor="#dceaf4", edgecolor=BLUE
        )
        top.add_patch(box)
        top.text(index * 3 + 1.1, 0.5, step, ha="center", va="center", fontsize=8.5)
        if index:
            top.annotate("", (index * 3 - 0.1, 0.5), (index * 3 - 0.7, 0.5), arrowprops={"arrowstyle": "->"})
    top.set_xlim(-0.3, max(3 * len(steps) - 0.5, 9))
    top.set_ylim(-0.4, 1.4)
    top.axis("off")
    names = sorted(scores, key=lambda team: scores[team], reverse=True)
    bottom.barh(
        names, [scores[team] for team in names], color=[GRAY] * (len(names) - 1) + [GREEN], height=0.6
    )
    for row, team in enumerate(names):
        bottom.text(scores[team], row, f" {scores[team]:.3g}", va="center", fontsize=8.5)
    bottom.set_xlabel("score of the example, small is best")
    figure.tight_layout()
    return as_svg(figure)
