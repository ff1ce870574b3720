"""Which model restores which channel, and the recipe that all of them together are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from live_restore.errors import SettingsError
from live_restore.inference.backends.session import Device
from live_restore.inference.bad_pixels import read_bad_pixels
from live_restore.inference.cameras import CameraChoice, KnownCamera, choose_camera
from live_restore.inference.chain import ChainRestorer
from live_restore.inference.channel_patterns import any_matches
from live_restore.inference.error_bar_tables import table_for
from live_restore.inference.image.error_bars import ErrorBarTable
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model.model import Model
from live_restore.inference.restorer import Restorer
from live_restore.inference.stack_restorer import StackRestorer
from live_restore.settings.model import ModelRule, Settings
from live_restore.stack import FileStacks, checksum_of


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
    cameras
        Those of the settings.
    stacks_at_once
        How many stacks can be restored at the same time on this device; 0: as many as pays there.
    estimates
        Whether results are compared with their raw stacks.
    """

    rules: tuple[tuple[ModelRule, StackRestorer | None], ...]
    recipe: str
    beside: tuple[ModelSet, ...] = ()
    cameras: tuple[KnownCamera, ...] = ()
    stacks_at_once: int = 0
    estimates: bool = True

    @classmethod
    def load(cls, settings: Settings, devices: Sequence[str] = ()) -> ModelSet:
        """Load every model that the settings name, on every device that they name.

        Parameters
        ----------
        settings
            All settings; those of other computers are for ``live_restore.cluster.models``.
        devices
            Instead of those of the settings.

        Raises
        ------
        SettingsError
            A camera's map of bad pixels cannot be read, or a model has no error bars.
        ModelError
            A model cannot be loaded.
        DeviceError
            A device cannot be used.
        """
        cameras = cameras_of(settings)
        first, *others = (
            cls._on(device, settings, cameras) for device in devices or settings.inference.devices
        )
        return replace(first, beside=tuple(others))

    @classmethod
    def _on(cls, device: str, settings: Settings, cameras: tuple[KnownCamera, ...]) -> ModelSet:
        inference = settings.inference

        def loaded(name: str) -> Model:
            return load_model(
                find_model(name),
                device,
                inference.threads,
                reduced=inference.reduced,
                gpu_memory_gb=inference.gpu_memory_gb,
            )

        def restorer(names: tuple[str, ...]) -> StackRestorer:
            if len(names) > 1:
                return _chain([loaded(name) for name in names], settings)
            return restorer_with(loaded(names[0]), settings)

        return cls.of(settings, cameras, restorer)

    @classmethod
    def of(
        cls,
        settings: Settings,
        cameras: tuple[KnownCamera, ...],
        make_restorer: Callable[[tuple[str, ...]], StackRestorer],
    ) -> ModelSet:
        """Return the set of what ``make_restorer`` makes of each rule's models, once."""
        loaded: dict[tuple[str, ...], StackRestorer] = {}
        rules: list[tuple[ModelRule, StackRestorer | None]] = []
        for rule in settings.models:
            if rule.skip:
                rules.append((rule, None))
                continue
            if rule.names not in loaded:
                loaded[rule.names] = make_restorer(rule.names)
            rules.append((rule, loaded[rule.names]))
        described = [
            (rule.channels, None if restorer is None else restorer.model.digest)
            for rule, restorer in rules
        ]
        described_all: list[object] = [described, settings.pixel_digest()]
        for camera in cameras:  # its map by what it holds, wherever it lies
            if camera.bad_pixels is not None:
                described_all.append([camera.bad_pixels.shape, checksum_of(camera.bad_pixels)])
            elif settings.cameras:
                described_all.append(None)
        text = json.dumps(described_all)
        recipe = hashlib.sha256(text.encode()).hexdigest()
        return cls(tuple(rules), recipe, cameras=cameras, estimates=settings.trust.enabled)

    def restorer_for(self, file_stacks: FileStacks, channel: int) -> StackRestorer | None:
        """Return what restores a channel, or ``None`` when it stays as it is."""
        name = file_stacks.channel_name(channel)
        for rule, restorer in self.rules:
            number = file_stacks.first_channel + channel
            if any_matches(rule.channels, name, number):
                return restorer
        return None

    def camera_of(self, file_stacks: FileStacks, channels: Sequence[int]) -> CameraChoice | None:
        """Return which camera recorded channels that are restored together, ``None`` without any.

        Where they are of several cameras, the noise of all of them together is not known.
        """
        if not self.cameras:
            return None
        chosen = [
            choose_camera(
                self.cameras,
                file_stacks.channel_name(channel),
                file_stacks.first_channel + channel,
                file_stacks.camera_serial(channel),
            )
            for channel in channels
        ]
        first = chosen[0]
        unknown = next((each for each in chosen if each.camera is None), None)
        if unknown is not None:
            return unknown
        if any(each.camera is not first.camera for each in chosen):
            return CameraChoice(None, "channels that are restored together have several cameras")
        return first

    @property
    def models(self) -> tuple[Model, ...]:
        """The models on the first device, each once."""
        unique = {r.model.digest: r.model for _, r in self.rules if r is not None}
        return tuple(unique.values())

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """What to know of models without an envelope, a line each."""
        notes = (model.card.unmeasured_note() for model in self.models)
        return tuple(note for note in notes if note)

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
            for _ in range(model_set.stacks_at_once or model_set._worth_at_once())
        )

    def _worth_at_once(self) -> int:
        return 2 if any(m.session.device.on_gpu for m in self.models) else 1


def _chain(models: Sequence[Model], settings: Settings) -> ChainRestorer:
    """Return models as one; raises ``SettingsError`` where error bars are asked for."""
    if settings.output.error_bars:
        raise SettingsError(
            "the errors of models one after the other were never measured, so that there are no "
            "error bars",
            None,
            "leave out output.error_bars, or steps",
        )
    output = settings.output
    return ChainRestorer.of(
        models, settings.inference, output.units, output.defects, keep_flux=output.keep_flux
    )


def restorer_with(model: Model, settings: Settings) -> Restorer:
    """Return what restores with a warm model as the settings say.

    Raises
    ------
    SettingsError
        They ask for what the model does not have.
    """
    return Restorer(
        model,
        settings.inference,
        settings.output.units,
        defects=settings.output.defects,
        gain_every=settings.trust.gain_every,
        error_bars=error_bars_for(model, settings),
        less_light_every=settings.trust.less_light_every,
        keep_flux=settings.output.keep_flux,
    )


def cameras_of(settings: Settings) -> tuple[KnownCamera, ...]:
    """Return the cameras of the settings, with their maps of bad pixels.

    Raises
    ------
    SettingsError
        A map cannot be read.
    """
    one = () if settings.camera is None else (settings.camera,)
    return tuple(
        KnownCamera(each, None if each.bad_pixels is None else read_bad_pixels(each.bad_pixels))
        for each in (*one, *settings.cameras)
    )


def error_bars_for(model: Model, settings: Settings) -> ErrorBarTable | None:
    """Return the errors of a model where the settings ask for error bars.

    Raises
    ------
    SettingsError
        They were never measured.
    """
    if not settings.output.error_bars:
        return None
    table = table_for(model.card)
    if table is None:
        raise SettingsError(
            f'the errors of the model "{model.card.name}" were never measured, so that it has no '
            "error bars",
            model.path,
            "leave out output.error_bars, or use a bundled model that has them (fast)",
        )
    return table
