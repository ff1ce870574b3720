"""Which model restores which channel, and the recipe that all of them together are."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass, replace

from live_restore.inference.backends.session import Device
from live_restore.inference.bad_pixels import read_bad_pixels
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model.model import Model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import ModelRule, Settings
from live_restore.stack import FileStacks, Mask, checksum_of


@dataclass(frozen=True)
class ModelSet:
    """The warm models of one configuration.

    Parameters
    ----------
    rules
        Settings and, per rule, its restorer (``None``: the rule says skip). In order; the first
        rule that matches a channel decides.
    recipe
        Digest (hex) of everything that can change a restored voxel: models, rules, settings.
    beside
        The same models, warm on further devices.
    """

    rules: tuple[tuple[ModelRule, Restorer | None], ...]
    recipe: str
    beside: tuple[ModelSet, ...] = ()

    @classmethod
    def load(cls, settings: Settings) -> ModelSet:
        """Load every model that the settings name, on every device that they name.

        Raises
        ------
        SettingsError
            The camera's map of bad pixels cannot be read.
        ModelError
            A model cannot be loaded.
        DeviceError
            A device cannot be used.
        """
        camera = settings.camera
        bad_pixels = (
            None
            if camera is None or camera.bad_pixels is None
            else read_bad_pixels(camera.bad_pixels)
        )
        devices = settings.inference.devices
        first, *others = (cls._on(device, settings, bad_pixels) for device in devices)
        return replace(first, beside=tuple(others))

    @classmethod
    def _on(cls, device: str, settings: Settings, bad_pixels: Mask | None) -> ModelSet:
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
                    device,
                    inference.threads,
                    reduced=inference.reduced,
                    gpu_memory_gb=inference.gpu_memory_gb,
                )
                loaded[rule.model] = Restorer(
                    model,
                    inference,
                    settings.output.units,
                    settings.camera,
                    settings.output.defects,
                    bad_pixels,
                    settings.trust.every,
                    settings.trust.less_light_every,
                    keep_flux=settings.output.keep_flux,
                )
            rules.append((rule, loaded[rule.model]))
        described = [
            (rule.channels, None if restorer is None else restorer.model.digest)
            for rule, restorer in rules
        ]
        described_all: list[object] = [described, settings.pixel_digest()]
        if bad_pixels is not None:  # by what it holds, wherever it lies
            described_all.append([bad_pixels.shape, checksum_of(bad_pixels)])
        text = json.dumps(described_all)
        return cls(tuple(rules), hashlib.sha256(text.encode()).hexdigest())

    def restorer_for(self, file_stacks: FileStacks, channel: int) -> Restorer | None:
        """Return what restores a channel, or ``None`` when it stays as it is."""
        name = file_stacks.channel_name(channel)
        for rule, restorer in self.rules:
            number = file_stacks.first_channel + channel
            if any(_matches(pattern, name, number) for pattern in rule.channels):
                return restorer
        return None

    @property
    def models(self) -> tuple[Model, ...]:
        """The models on the first device, each once."""
        unique = {r.model.digest: r.model for _, r in self.rules if r is not None}
        return tuple(unique.values())

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that the models run on, each once."""
        model_sets = (self, *self.beside)
        found = [model.session.device for model_set in model_sets for model in model_set.models]
        return tuple({(device.name, device.hardware): device for device in found}.values())

    @property
    def workers(self) -> tuple[ModelSet, ...]:
        """A model set for every stack that can be restored at the same time.

        Two workers share a GPU, its models and their restorers: while it computes one stack, the
        processor scales the next and finishes the one before.
        """
        return tuple(
            model_set
            for model_set in (self, *self.beside)
            for _ in range(2 if any(m.session.device.on_gpu for m in model_set.models) else 1)
        )


def _matches(pattern: str, name: str, channel: int) -> bool:
    """Return whether a rule's pattern means a channel, by number, name or wildcards."""
    wanted, name = pattern.casefold(), name.casefold()
    # Names may hold what wildcards are made of: "GFP [488]".
    return pattern == str(channel) or wanted == name or fnmatch.fnmatchcase(name, wanted)
