"""The models that a turn reads: encoders, description vectors and published heads, as one immutable snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from encoders.artifact import Encoders
from encoders.base import E_H, E_S, E_T, MODALITIES
from encoders.heads import HEADS, PublishedHead
from encoders.river_parts import river
from state.vectors import Vectors, unpack
from streams.steps.segments import DefinitionError, Plan

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Models:
    """Replaced as a whole when a head is published, so that a turn sees one state of it."""

    encoders: Encoders
    words: Mapping[str, Array]
    """Segment id → unit vector of its description."""
    heads: Mapping[str, PublishedHead] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Grows with every published head; the same heads have the same number, whoever adds them up."""
        return sum(head.version for head in self.heads.values())

    def with_heads(self, heads: Mapping[str, PublishedHead]) -> Models:
        return replace(self, heads={**self.heads, **heads})

    def fuse(self, vectors: list[Vectors], hidden_modality: str = "") -> tuple[Array, Mask]:
        """Fused vectors float32[n, 384] and which modalities are there bool[n, 3].

        ``hidden_modality`` leaves one out, to see what it contributes.
        """
        count = len(vectors)
        behaviour = np.empty((count, E_H), dtype=np.float32)
        social = np.empty((count, E_S), dtype=np.float32)
        text = np.empty((count, E_T), dtype=np.float32)
        present = np.empty((count, 3), dtype=np.bool_)
        for row, vector in enumerate(vectors):
            behaviour[row] = unpack(vector.behaviour, E_H)
            social[row] = unpack(vector.social, E_S)
            text[row] = unpack(vector.text, E_T)
            present[row] = bool(vector.behaviour), bool(vector.social), bool(vector.text)
        if hidden_modality:
            present[:, MODALITIES.index(hidden_modality)] = False
        return self.encoders.fusion.fuse(behaviour, social, text, present), present


def make_models(encoders: Encoders, plan: Plan) -> Models:
    """Encode the descriptions of the plan once. Raises DefinitionError for a head of an unknown kind."""
    for group in plan.groups.values():
        if group.head not in HEADS:
            known = ", ".join(sorted(HEADS))
            raise DefinitionError(f"group {group.id!r}: the head {group.head!r} is not one of {known}")
    if plan.groups:
        river()  # not within a turn
    words: dict[str, Array] = {}
    if plan.words:
        encoded = encoders.text.encode([segment.text for segment in plan.words])
        words = {segment.id: vector for segment, vector in zip(plan.words, encoded, strict=True)}
    return Models(encoders, words)
