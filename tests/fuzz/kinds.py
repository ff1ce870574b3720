"""Which inputs there are: how each kind is mutated, and what has to cope with it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.fuzz import mutators, users
from tests.fuzz.mutate import damage, mutate_text
from tests.fuzz.mutate_onnx import mutate_onnx
from tests.fuzz.mutators import Mutator
from tests.fuzz.seeds import SEEDS
from tests.fuzz.tree import Tree
from tests.fuzz.users import User


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    mutate: Mutator
    use: User


KINDS: dict[str, Kind] = {
    "tiff": Kind(mutators.any_tiff, users.use_tiff),
    "tiff-text": Kind(mutators.text_in, users.use_tiff),
    "ome-xml": Kind(mutators.text_in, users.use_tiff),
    "ome-set": Kind(mutators.ome_set, users.use_tiff),
    "mm-stack": Kind(mutators.dataset, users.use_dataset),
    "ndtiff": Kind(mutators.dataset, users.use_dataset),
    "mm-series": Kind(mutators.dataset, users.use_dataset),
    "ome-zarr": Kind(mutators.dataset, users.use_dataset),
    "plane-files": Kind(mutators.dataset, users.use_dataset),
    "vendor-child": Kind(mutators.each(damage), users.use_vendor_child),
    "card": Kind(mutators.each(mutators.card), users.use_model),
    "onnx": Kind(mutators.each(mutate_onnx), users.use_model),
    "package": Kind(mutators.package, users.use_model),
    "records": Kind(mutators.records, users.use_records),
    "config": Kind(mutators.each(mutate_text), users.use_config),
    "journal": Kind(mutators.each(damage), users.use_journal),
    "torch": Kind(mutators.each(mutators.torch), users.use_checkpoint),
    "keras": Kind(mutators.each(damage), users.use_checkpoint),
}
assert set(KINDS) == set(SEEDS)


def mutated(kind: str, number: int, trees: list[Tree]) -> tuple[random.Random, Tree, Tree]:
    """Return the generator, the good input and the mutated one of a case; always the same."""
    rng = random.Random(f"{kind} {number}")
    pristine = trees[number % len(trees)]
    hurt = pristine.copy()
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        KINDS[kind].mutate(rng, hurt)
    return rng, pristine, hurt
