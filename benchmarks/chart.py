"""Draw what a request costs beside bare Flask."""

from __future__ import annotations

import typing as t
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

KIT = "#1b6e3c"
PEER = "#8a5a00"


def draw(path: Path, costs: t.Mapping[str, float]) -> None:
    """Write a bar chart in an SVG file.

    :param costs: what more a request costs than in bare Flask, in per cent, by name;
        those of the kit begin with "guard".
    """
    # the same file for the same figures
    matplotlib.rcParams |= {"svg.hashsalt": "costs", "svg.fonttype": "none"}
    names, values = list(costs), list(costs.values())
    figure, axes = pyplot.subplots(figsize=(8, 0.36 * len(names) + 1))
    colours = [KIT if name.startswith("guard") else PEER for name in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [f"{value:+.1f} %" for value in values], padding=4)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("instructions of a request, more than in bare Flask")
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    # a white card is legible on a dark page too
    figure.savefig(
        path, bbox_inches="tight", metadata={"Date": None}, facecolor="white"
    )
