"""Which definitions a partition goes by: it changes over in a turn, and remembers since when it counts what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from encoders.heads import PublishedHead
from state.layout import Meta
from streams.steps.models import Models
from streams.steps.segments import Plan

#: of the first definitions that a partition went by; users of an earlier release have none
FIRST_EPOCH: Final = 1


@dataclass(frozen=True)
class InForce:
    """What a turn decides by. Replaced as a whole, so that a turn sees one state of it."""

    version: int
    """Of the definitions; 0: they come from a file."""
    plan: Plan
    models: Models

    def with_heads(self, heads: Mapping[str, PublishedHead]) -> InForce:
        return replace(self, models=self.models.with_heads(heads))


def differs(meta: Meta, plan: Plan, version: int) -> bool:
    """Whether the partition has not changed over to these definitions yet."""
    return (
        not meta.epoch
        or (meta.definitions, meta.fingerprint) != (version, plan.fingerprint)
        or not plan.asked <= meta.terms.keys()
    )


def change_over(meta: Meta, plan: Plan, version: int) -> bool:
    """From this turn on the partition goes by these definitions; returns whether it did not before.

    The position record says since which epoch each term is counted. That makes what is known of a user exact, though
    users are looked at one by one later on (``streams.steps.definitions``).
    """
    changed = differs(meta, plan, version)
    if changed:
        if not meta.epoch:
            meta.epoch = FIRST_EPOCH
            # a partition without users, or an earlier release with the same definitions, missed nothing
            if not meta.users or meta.plan == plan.fingerprint:
                meta.terms = dict.fromkeys(sorted(plan.asked), FIRST_EPOCH)
            else:
                meta.epoch += 1
        elif meta.fingerprint != plan.fingerprint or not plan.asked <= meta.terms.keys():
            meta.epoch += 1
        for key in sorted(plan.asked - meta.terms.keys()):
            meta.terms[key] = meta.epoch
        meta.definitions, meta.fingerprint = version, plan.fingerprint
        if not meta.users:  # nobody is to be checked: who comes from now on begins with these definitions
            meta.swept = meta.epoch
    if not meta.terms.keys() <= plan.counted:
        for key in meta.terms.keys() - plan.counted:
            del meta.terms[key]
    return changed


def epoch_of(meta: Meta, plan: int) -> int:
    """The epoch at which a user was last looked at, by what a record of format 1 says of it: that, or in an early
    release the fingerprint of its definitions."""
    if plan <= meta.epoch:
        return plan
    return FIRST_EPOCH if plan == meta.plan else 0
