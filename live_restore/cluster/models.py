"""The warm models of one configuration, on this computer and on others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import structlog

from live_restore.errors import DeviceError, SettingsError
from live_restore.inference.backends.backend import Limits
from live_restore.inference.backends.session import Device
from live_restore.inference.device.check import known_tile, small_shape
from live_restore.inference.load import find_model, load_trusted
from live_restore.inference.model.model import Model
from live_restore.inference.model_set import ModelSet, cameras_of, error_bars_for
from live_restore.settings.devices import is_remote
from live_restore.settings.model import Settings

log = structlog.get_logger()


class News:
    """What happens on other computers: logged, and shown to whoever asks for it."""

    def __init__(self) -> None:
        self._show: Callable[[str], None] = lambda _: None

    def goes_to(self, show: Callable[[str], None]) -> None:
        """Show it, too."""
        self._show = show

    def __call__(self, line: str) -> None:
        log.warning(line)
        self._show(line)


def load_models(
    settings: Settings, report: Callable[[str], None] | None = None, *, archive: bool = False
) -> ModelSet:
    """Load every model that the settings name, on every device of this computer and of others.

    A scheduler that does not answer yet is waited for when there are stacks: instrument PCs and GPU
    computers start in any order.

    Parameters
    ----------
    settings
        All settings.
    report
        Takes lines that a person must see; ``None``: they are warnings of Python's.
    archive
        Whether no microscope waits for the results: other watchers' stacks go first.

    Raises
    ------
    SettingsError
        The camera's map of bad pixels, or a certificate, cannot be read.
    ModelError
        A model cannot be loaded.
    DeviceError
        A device cannot be used.
    """
    devices = settings.inference.devices
    remote = [device for device in devices if is_remote(device)]
    if not remote:
        return ModelSet.load(settings)
    local = [device for device in devices if device not in remote]
    here = ModelSet.load(settings, local) if local else None
    there = iter([_remote(each, settings, here, report or _warn, archive) for each in remote])
    of_this_computer = iter(() if here is None else (replace(here, beside=()), *here.beside))
    sets = [next(there if device in remote else of_this_computer) for device in devices]
    return replace(sets[0], beside=tuple(sets[1:]))


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=2)


def _remote(
    address: str,
    settings: Settings,
    here: ModelSet | None,
    report: Callable[[str], None],
    archive: bool,
) -> ModelSet:
    from live_restore.cluster.ahead import Ahead
    from live_restore.cluster.connection import ARCHIVE, LIVE, Connection
    from live_restore.cluster.link import Link
    from live_restore.cluster.protocol import options_text
    from live_restore.cluster.remote import RemoteRestorer, RemoteSession

    cluster = settings.cluster
    priority = ARCHIVE if archive else LIVE
    link = Link(Connection(address, cluster.certificates, cluster.timeout_s), priority)
    ahead = Ahead(int(cluster.most_ahead_mb * 1e6))
    options = options_text(settings)
    device = Device(address, "Dask", "workers on other computers", on_gpu=True, elsewhere=True)
    local = {} if here is None else {rule.names: restorer for rule, restorer in here.rules}

    def restorer(names: tuple[str, ...]) -> RemoteRestorer:
        if len(names) > 1:
            raise SettingsError(
                "other computers restore with one model, and not with several one after the other",
                None,
                "leave out steps, or restore on this computer",
            )
        path = find_model(names[0])
        source, card, trusted = load_trusted(path, Limits(settings.inference.threads))
        model = Model(path, source.digest, card, RemoteSession(device))
        error_bars_for(model, settings)  # a model without them is better known at the start
        return RemoteRestorer(
            link,
            model,
            trusted.run(known_tile(small_shape(card), card)),
            options,
            settings.trust.gain_every if card.input_channels == 1 else 0,
            settings.trust.less_light_every,
            ahead,
            report,
            local.get(names),
        )

    found = ModelSet.of(settings, cameras_of(settings), restorer)
    return replace(found, stacks_at_once=cluster.stacks_ahead)


def refuse_remote(settings: Settings, command: str) -> None:
    """Refuse devices of other computers where whole stacks are not what is worked on.

    Raises
    ------
    DeviceError
        The settings name one.
    """
    for device in filter(is_remote, settings.inference.devices):
        raise DeviceError(
            f'device "{device}" is of no use for {command}', None, "add --device auto"
        )
