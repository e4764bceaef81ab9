"""plot_kept: time over what masks keep, from the JSON of attn_bench, as a picture.

attn_bench --cases=kept --json=kept.json
python bench/plot_kept.py kept.json kept.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot


def main() -> None:
    """The command line, from the JSON to the PNG."""
    parser = argparse.ArgumentParser(prog="plot_kept", description=__doc__)
    parser.add_argument("json", type=Path, help="what attn_bench --json wrote")
    parser.add_argument("png", type=Path, help="the picture")
    arguments = parser.parse_args()
    everything = json.loads(arguments.json.read_text(encoding="utf-8"))
    figure, axes = pyplot.subplots(figsize=(8, 6), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="no more than is kept")
    for case in everything["cases"]:
        kept, full = case["kept"], case["time_over_full"]
        if kept is not None and full is not None:
            axes.plot(kept, full, "o", color="tab:blue", markersize=5)
            axes.annotate(
                case["name"],
                (kept, full),
                xytext=(6, -3),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set(
        xlim=(0, 1.05),
        ylim=(0, 1.05),
        xlabel="part of the pairs of query and key that masks keep",
        ylabel="time over that without masks",
        title="Time over what masks keep",
    )
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(arguments.png, dpi=120)


if __name__ == "__main__":
    main()
