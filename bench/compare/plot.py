"""A picture of the ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from compare.ratios import OURS, peer_ratio, summary
from compare.report import many
from compare.rounds import Measured

# Of each peer in turn; told apart without colours, too.
MARKS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "D"), ("#aa4499", "^"))
ROW_INCHES = 0.3
ROW_SPREAD = 0.5  # of a row, over which marks are spread so that none hides another
PANEL_INCHES = 4.4
LETTER_INCHES = 0.075
NAME_LETTERS = 48


def plot(
    measured: list[Measured], versions: dict[str, str], threads: list[int], path: Path
) -> None:
    """A panel for each number of threads, a row of marks for each problem."""
    peers = [name for name in versions if name != OURS]
    names = [_shortened(one) for one in measured]
    width = LETTER_INCHES * max(map(len, names)) + PANEL_INCHES * len(threads)
    height = ROW_INCHES * len(measured) + 1.7
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(wspace=0.04)
        panels = figure.subplots(1, len(threads), sharex=True, squeeze=False)[0]
        for panel, count in zip(panels, threads):
            _draw(panel, measured, peers, count)
            panel.set_yticks(range(len(names)), names if panel is panels[0] else [])
        handles, labels = panels[0].get_legend_handles_labels()
        place = "outside upper center"
        figure.legend(handles, labels, loc=place, ncols=len(peers), frameon=False)
        figure.supxlabel(
            "time of the peer / time of libattn: right of 1 libattn is faster",
            fontsize=9,
        )
        figure.savefig(path, dpi=130)


def _draw(panel: Any, measured: list[Measured], peers: list[str], count: int) -> None:
    """Marks at the medians, with a line from the least to the most of the rounds."""
    for row in range(0, len(measured), 2):
        panel.axhspan(row - 0.5, row + 0.5, color="0.96", linewidth=0, zorder=0)
    panel.axvline(1, color="0.2", linewidth=1.2, zorder=1)
    means = []
    for number, ((color, mark), peer) in enumerate(zip(MARKS, peers)):
        offset = ROW_SPREAD * ((number + 0.5) / len(peers) - 0.5)
        found = [
            (row + offset, ratio)
            for row, one in enumerate(measured)
            if (ratio := peer_ratio(one, peer, count)) is not None
        ]
        rows = [row for row, _ in found]
        panel.hlines(
            rows,
            [ratio.least for _, ratio in found],
            [ratio.most for _, ratio in found],
            color=color,
            linewidth=1,
            alpha=0.5,
            zorder=2,
        )
        panel.plot(
            [ratio.median for _, ratio in found],
            rows,
            mark,
            color=color,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=peer,
            zorder=3,
        )
        whole = summary(measured, peer, count)
        if whole is not None:
            means.append(f"{peer} {whole.mean:.2f}")
    title = f"geometric means: {', '.join(means)}"
    panel.set_title(f"{many(count, 'thread')}\n{title}", fontsize=8)
    _scale(panel, len(measured))


def _scale(panel: Any, rows: int) -> None:
    panel.set_ylim(rows - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(axis="x", color="0.87", linewidth=0.7, zorder=0)
    panel.set_axisbelow(True)
    panel.spines[["left", "right"]].set_visible(False)


def _shortened(one: Measured) -> str:
    """Name and text, or one of them."""
    text = one.problem.title
    if len(text) > NAME_LETTERS and one.problem.name:
        text = one.problem.name
    return text if len(text) <= NAME_LETTERS else text[: NAME_LETTERS - 3] + "..."
