"""Which model restores which channel, and the recipe that all of them together are."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass

from live_restore.inference.model import Model, find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings import ModelRule, Settings
from live_restore.stack import Dataset


@dataclass(frozen=True)
class Shelf:
    """The warm models of one configuration.

    Parameters
    ----------
    rules
        Settings and, per rule, its restorer (``None``: the rule says skip). In order; the first
        rule that matches a channel decides.
    recipe
        Digest (hex) of everything that can change a restored voxel: models, rules, settings.
    """

    rules: tuple[tuple[ModelRule, Restorer | None], ...]
    recipe: str

    @classmethod
    def load(cls, settings: Settings) -> Shelf:
        """Load every model that the settings name; raises ``ModelError`` or ``DeviceError``."""
        loaded: dict[str, Restorer] = {}
        rules: list[tuple[ModelRule, Restorer | None]] = []
        for rule in settings.models:
            if rule.skip:
                rules.append((rule, None))
                continue
            if rule.model not in loaded:
                inference = settings.inference
                model = load_model(
                    find_model(rule.model),
                    inference.device,
                    inference.threads,
                    reduced=inference.precision == "auto",
                    gpu_memory_gb=inference.gpu_memory_gb,
                )
                loaded[rule.model] = Restorer(model, settings.inference, settings.output.units)
            rules.append((rule, loaded[rule.model]))
        described = [
            (rule.channels, None if restorer is None else restorer.model.digest)
            for rule, restorer in rules
        ]
        text = json.dumps([described, settings.pixel_digest()])
        return cls(tuple(rules), hashlib.sha256(text.encode()).hexdigest())

    def restorer_for(self, dataset: Dataset, channel: int) -> Restorer | None:
        """Return what restores a channel, or ``None`` when it stays as it is."""
        name = dataset.channel_name(channel)
        for rule, restorer in self.rules:
            number = dataset.first_channel + channel
            if any(_matches(pattern, name, number) for pattern in rule.channels):
                return restorer
        return None

    @property
    def models(self) -> tuple[Model, ...]:
        """The models, each once."""
        unique = {r.model.digest: r.model for _, r in self.rules if r is not None}
        return tuple(unique.values())


def _matches(pattern: str, name: str, channel: int) -> bool:
    """Return whether a rule's pattern means a channel, by number, name or wildcards."""
    wanted, name = pattern.casefold(), name.casefold()
    # Names may hold what wildcards are made of: "GFP [488]".
    return pattern == str(channel) or wanted == name or fnmatch.fnmatchcase(name, wanted)
