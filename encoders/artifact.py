"""The table of encoders, the bundle of all of them, and the file that trained weights live in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from encoders.base import (
    F32,
    NODE_DIM,
    RAW_DIM,
    TEXT_DIM,
    BuildOptions,
    EncoderSpec,
    Precision,
    Served,
    TextEncoder,
    Weights,
    digest,
)
from encoders.behaviour import BehaviourEncoder
from encoders.fusion import Fusion
from encoders.projection import TextProjection
from encoders.social import Ego, SocialEncoder, graph_weights

Card = dict[str, Any]
Serve = Callable[[dict[str, F32]], Served]
"""Builds what needs torch elsewhere; it is given the weights of the graph."""


def _normal(rng: np.random.Generator, *shape: int) -> F32:
    return rng.standard_normal(shape).astype(np.float32)


def _words(n: int, rng: np.random.Generator) -> list[str]:
    vocabulary = ["cheap", "red", "shoes", "for", "the", "long", "train", "journey", "good", "restaurant", "parliament"]
    return [" ".join(rng.choice(vocabulary, size=int(rng.integers(0, 12)))) for _ in range(n)]


def _egos(n: int, rng: np.random.Generator) -> list[Ego]:
    return [Ego(_normal(rng, NODE_DIM), _normal(rng, int(rng.integers(0, 5)), NODE_DIM)) for _ in range(n)]


def _text(options: BuildOptions, _weights: Weights | None) -> TextEncoder:
    if options.served is not None:
        return options.served.text
    from encoders.text import BertTextEncoder  # noqa: PLC0415 - torch takes seconds, and a worker must not have it

    return BertTextEncoder(options.text_model, options.device, precision=options.text_precision)


def _social(options: BuildOptions, weights: Weights | None) -> SocialEncoder:
    return SocialEncoder(weights, options.served.layers if options.served else None, options.device)


#: One row for each encoder, in the order in which they are built; a new encoder is one file and one row here.
ENCODERS: tuple[EncoderSpec, ...] = (
    EncoderSpec(
        "text",
        "a text to the model's own vector",
        _text,
        _words,
    ),
    EncoderSpec(
        "text_projection",
        "a user's mean text vector to E_t",
        lambda o, w: TextProjection(o.text_dim, w),
        lambda n, rng: _normal(rng, n, TEXT_DIM),
    ),
    EncoderSpec(
        "behaviour",
        "decayed counts, seconds and money to E_h",
        lambda o, w: BehaviourEncoder(o.raw_dim, w),
        lambda n, rng: rng.exponential(5.0, (n, RAW_DIM)).astype(np.float32),
    ),
    EncoderSpec(
        "social",
        "a user's hidden vector and those of the people followed to E_s",
        _social,
        _egos,
    ),
)


@dataclass(frozen=True)
class Encoders:
    """All encoders, as the service uses them. ``version`` names all weights together."""

    text: TextEncoder
    text_projection: TextProjection
    behaviour: BehaviourEncoder
    social: SocialEncoder
    fusion: Fusion
    version: str

    def weights(self) -> dict[str, F32]:
        """All trainable weights as ``encoder.name``."""
        owners = {spec.name: getattr(self, spec.name) for spec in ENCODERS} | {"fusion": self.fusion}
        return {f"{owner}.{name}": value for owner, it in owners.items() for name, value in it.weights().items()}


def load_encoders(
    text_model: str = "",
    artifact: Path | None = None,
    device: str = "auto",
    torch_threads: int = 1,
    raw_dim: int = RAW_DIM,
    text_precision: Precision = "float32",
    serve: Serve | None = None,
) -> Encoders:
    """Builds all encoders; what the artifact does not hold (or without one, all) gets its sound untrained weights.

    ``serve`` builds what needs torch, by its own idea of model, device, threads and precision; None: it is built here,
    and torch's number of threads set.
    Raises FileNotFoundError if the model or the artifact is missing, ValueError if the artifact does not fit or the
    device has not that precision, RuntimeError if the processor has not.
    """
    trained = load_artifact(artifact)[0] if artifact else {}
    by_owner: dict[str, dict[str, F32]] = {}
    for name, value in trained.items():
        owner, _, weight = name.partition(".")
        by_owner.setdefault(owner, {})[weight] = value
    if unknown := set(by_owner) - {spec.name for spec in ENCODERS} - {"fusion"}:
        raise ValueError(f"{artifact}: weights of unknown encoders {sorted(unknown)}")
    served = serve(graph_weights(by_owner.get("social"))) if serve is not None else None
    if served is None:
        from encoders.device import use_threads  # noqa: PLC0415 - torch, as above

        use_threads(torch_threads)
    options = BuildOptions(text_model, device, raw_dim, text_precision=text_precision, served=served)
    built: dict[str, Any] = {}
    for spec in ENCODERS:
        built[spec.name] = spec.make(options, by_owner.get(spec.name))
        if spec.name == "text":
            options = replace(options, text_dim=built["text"].dim)
    fusion = Fusion(by_owner.get("fusion"))
    version = digest({}, *(e.version for e in built.values()), fusion.version)
    return Encoders(**built, fusion=fusion, version=version)


def save_artifact(path: Path, weights: Weights, card: Mapping[str, Any]) -> None:
    """Writes weights and card (JSON: what they were trained on, metrics, versions) as safetensors, atomically."""
    tensors = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in weights.items()}
    partial = path.with_name(path.name + ".part")
    save_file(tensors, partial, metadata={"card": json.dumps(dict(card), sort_keys=True, allow_nan=False)})
    partial.replace(path)


def load_artifact(path: Path) -> tuple[dict[str, F32], Card]:
    """Weights by name, and the card.

    Raises FileNotFoundError if there is no such file, ValueError if it is not one of ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no encoder artifact at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})["card"])
            return {name: file.get_tensor(name) for name in file.keys()}, card  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, json.JSONDecodeError) as e:
        raise ValueError(f"{path} is not an encoder artifact: {e}") from e
