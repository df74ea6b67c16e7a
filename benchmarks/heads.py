"""Quality and speed of the learned heads on real data (BlogCatalog), test-then-train.

The protocol and the figures to beat are in QUALITY.md of the design: 192 numbers of text (truncated SVD of the TF-IDF
weighted keywords, fitted on the first tenth of the bloggers, see ``vectors``) beside their mean over the blogger's
neighbours; blocks of 32 are predicted, scored, then learned. *Drift*: half-way, all labels are shifted cyclically.

    python -m benchmarks.heads --json FILE
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from encoders.base import F32, F64, I64, unit
from encoders.heads import make_head

_CLASSES = 6
_TEXT = 192


def _keywords(folder: Path) -> F32:
    with np.load(folder / "features.npz") as csr:
        indptr, indices, data, (rows, cols) = csr["indptr"], csr["indices"], csr["data"], csr["shape"]
    dense = np.zeros((rows, cols), np.float32)
    dense[np.repeat(np.arange(rows), np.diff(indptr)), indices] = data
    return dense


def _neighbours(folder: Path, users: int) -> list[I64]:
    """The neighbours of each user, without the user itself."""
    with np.load(folder / "edges.npz") as file:
        edges = np.unique(np.sort(file["edges"], axis=1), axis=0).astype(np.int64)
    edges = edges[edges[:, 0] != edges[:, 1]]
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    return np.split(both[:, 1], np.searchsorted(both[:, 0], np.arange(1, users)))


def _means(values: F32, groups: Sequence[I64]) -> F32:
    none = np.zeros(values.shape[1], np.float32)
    return np.stack([values[group].mean(axis=0) if len(group) else none for group in groups])


def vectors(folder: Path, order: I64) -> F32:
    """f32[n, 384]: text and neighbours' mean text, both of length 1, in ``order``.

    The projection sees the first tenth of the bloggers only, and no label: their number of keywords is small against
    the 8,189 keywords, so it is fitted on the mean keywords of each one's neighbours, which are far less noisy.
    """
    words = _keywords(folder)
    neighbours = _neighbours(folder, len(words))
    first = order[: len(order) // 10]
    idf = np.log((1.0 + len(first)) / (1.0 + (words[first] > 0).sum(axis=0))) + 1.0
    words = unit(words * idf.astype(np.float32))
    sample = unit(_means(words, [neighbours[user] for user in first]))
    _, _, vt = np.linalg.svd(sample, full_matrices=False)
    text = unit(words @ vt[:_TEXT].T)
    return np.concatenate([text, unit(_means(text, neighbours))], axis=1)[order]


def calibration_error(p: F32, y: I64, bins: int = 15) -> float:
    """Expected calibration error of the predicted class, by equal-width bins (Guo et al. 2017)."""
    confidence, right = p.max(axis=1), (p.argmax(axis=1) == y).astype(np.float64)
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = [abs(right[bin_of == b].sum() - confidence[bin_of == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(y))


def replay(kind: str, x: F32, y: I64, block: int) -> dict[str, float]:
    """Test-then-train over all of ``x`` f32[n, d] with labels ``y`` int64[n]."""
    head = make_head(kind, [str(c) for c in range(_CLASSES)], x.shape[1])
    onehot: F64 = np.eye(_CLASSES)[y]
    p = np.zeros((len(x), _CLASSES), np.float32)
    seconds = 0.0
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        p[part] = head.predict_proba_many(x[part])
        begin = time.perf_counter()
        head.learn_block(x[part], onehot[part])
        seconds += time.perf_counter() - begin
    measured = head.metrics()
    return {
        "accuracy": float((p.argmax(axis=1) == y).mean()),
        "macro_f1": measured["macro_f1"],
        "log_loss": measured["log_loss"],
        "ece": calibration_error(p, y),
        "drifts": measured["drifts"],
        "temperature": measured["temperature"],
        "microseconds_per_label": 1e6 * seconds / len(x),
        "bytes": float(len(head.to_bytes())),
        "published_bytes": float(len(head.published())),
    }


def measure(folder: Path, kinds: Sequence[str], seeds: int, block: int) -> dict[str, dict[str, dict[str, float]]]:
    """Means over ``seeds`` orders, with the spread (standard deviation) of accuracy, by kind and setting."""
    labels = np.loadtxt(folder / "labels.txt", dtype=np.int64)
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    runs: dict[str, dict[str, list[dict[str, float]]]] = {kind: {"stationary": [], "drift": []} for kind in kinds}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(labels))
        x, y = vectors(folder, order), labels[order]
        shifted = np.where(np.arange(len(y)) < len(y) // 2, y, (y + 1) % _CLASSES)
        for kind in kinds:
            runs[kind]["stationary"].append(replay(kind, x, y, block))
            runs[kind]["drift"].append(replay(kind, x, shifted, block))
    return {
        kind: {
            name: {key: float(np.mean([run[key] for run in each])) for key in each[0]}
            | {"accuracy_sd": float(np.std([run["accuracy"] for run in each]))}
            for name, each in by_name.items()
        }
        for kind, by_name in runs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--kinds", nargs="+", default=["rls"], help="kinds of head (rls, softmax)")
    parser.add_argument("--seeds", type=int, default=5, help="number of orders of the bloggers")
    parser.add_argument("--block", type=int, default=32, help="labels learned together")
    args = parser.parse_args()
    folder = Path(os.environ.get("SEGMENTS_DATA", "../shared/data")) / "blogcatalog-amgcn"
    if not folder.is_dir():
        parser.error(f"no data in {folder}; set SEGMENTS_DATA to the folder with the data sets")
    figures = measure(folder, args.kinds, args.seeds, args.block)
    for kind, settings in figures.items():
        for name, figure in settings.items():
            print(f"{kind:8} {name:11}", " ".join(f"{key} {value:.4g}" for key, value in figure.items()))
    if args.json:
        args.json.write_text(json.dumps({"heads": figures, "seeds": args.seeds, "block": args.block}, indent=2) + "\n")


if __name__ == "__main__":
    main()
