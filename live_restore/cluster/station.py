"""A worker's warm models, and what it does with a request: our plug-in in a Dask worker."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from distributed import WorkerPlugin, get_worker

from live_restore._version import __version__
from live_restore.cluster.message import Message
from live_restore.cluster.protocol import (
    SHOWN_DIGITS,
    Answer,
    Offer,
    Options,
    Request,
    described,
    proof_of,
    request_of,
    to_message,
    version_of,
)
from live_restore.cluster.values import DamagedMessageError
from live_restore.errors import LiveRestoreError, RuntimeFailureError, StackRefusedError
from live_restore.inference.backends.session import Floats
from live_restore.inference.device.check import known_tile, small_shape
from live_restore.inference.error_bar_tables import table_for
from live_restore.inference.load import load_model
from live_restore.inference.model.model import Model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings

NAME = "live-restore"
"""Of the plug-in in the Dask worker."""
# A restorer holds a limit of tile sizes and no memory to speak of; one per watcher's settings.
_RESTORERS_KEPT = 32


@dataclass(frozen=True)
class Equipment:
    """What a worker restores with.

    Parameters
    ----------
    models
        Their files, by digest.
    settings
        Of this computer: its device, threads and memory.
    host
        Its name, for reports.
    """

    models: Mapping[str, Path]
    settings: InferenceSettings
    host: str


class Station(WorkerPlugin):  # type: ignore[misc]
    """Restores what watchers send, with models that stay warm.

    Every answer goes with what the device makes of the known tile right afterwards, so that
    whoever asked can tell a device that has gone wrong from a stack that cannot be restored.

    Parameters
    ----------
    equipment
        What there is to restore with; loaded, and checked with known answers, at once.

    Raises
    ------
    ModelError, DeviceError
        It cannot be used.
    """

    name = NAME

    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment
        self._lock = threading.RLock()
        self._warm: dict[tuple[str, bool], Model] = {}
        self._restorers: OrderedDict[str, Restorer] = OrderedDict()
        self.models = {digest: self.model(digest, reduced=True) for digest in equipment.models}

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What other computers may ask for."""
        return tuple(Offer(model.card.name, digest) for digest, model in self.models.items())

    @property
    def host(self) -> str:
        """The computer's name."""
        return self._equipment.host

    @property
    def on_gpu(self) -> bool:
        """Whether the processor is free while it computes."""
        return any(model.session.device.on_gpu for model in self.models.values())

    def restore(self, message: Message) -> Message:
        """Return the answer to a request; raises nothing that a request can cause."""
        return to_message(self._answer(message))

    def _answer(self, message: Message) -> Answer:
        try:
            asks = version_of(message)
            if asks != __version__:
                return self._unsuited(f"is version {__version__} and was asked by {asks}")
            request = request_of(message)
            options = request.settings()
            camera = None if request.camera is None else request.camera.settings()
        except DamagedMessageError as error:
            return self._unsuited(f"cannot read what it was sent ({error})")
        if request.digest not in self._equipment.models:
            return self._unsuited(f"has no model {request.digest[:SHOWN_DIGITS]}")
        try:
            restorer = self._restorer(request, options).with_camera(camera, request.bad_pixels)
            restored = restorer.restore(request.stack)
        except StackRefusedError as error:
            return Answer("refused", what=error.what, remedy=error.remedy)
        except LiveRestoreError as error:
            return self._failed(request, type(error).__name__, error.what, error.remedy)
        except Exception as error:  # noqa: BLE001 - worker boundary: whoever asked is told
            what = f"the worker failed ({type(error).__name__}: {error})"
            return self._failed(request, RuntimeFailureError.__name__, what, "")
        proof = known_answer(restorer.model)
        device = described(restorer.model.session.device, self._equipment.host)
        # Whoever asked has the raw stack: half a megabyte per channel to save a look at it.
        sent = replace(restored, grey_values=())
        return Answer("restored", sent, device, proof_of(proof))

    def _unsuited(self, what: str) -> Answer:
        return Answer("unsuited", what=what)

    def _failed(self, request: Request, error: str, what: str, remedy: str) -> Answer:
        """Return an answer that also tells whether the device still works."""
        try:
            proof = proof_of(known_answer(self.model(request.digest, reduced=True)))
        except Exception:  # noqa: BLE001 - that there is none is the answer
            proof = None
        return Answer("failed", proof=proof, error=error, what=what, remedy=remedy)

    def _restorer(self, request: Request, options: Options) -> Restorer:
        asked = f"{request.estimate_gain} {request.estimate_less_light}"
        key = f"{request.digest} {asked} {request.options}"
        with self._lock:
            found = self._restorers.get(key)
            if found is None:
                model = self.model(request.digest, reduced=options.inference.reduced)
                found = self._restorers[key] = Restorer(
                    model,
                    options.inference,
                    options.units,
                    defects=options.defects,
                    gain_every=int(request.estimate_gain),
                    less_light_every=int(request.estimate_less_light),
                    keep_flux=options.keep_flux,
                    error_bars=table_for(model.card) if options.error_bars else None,
                )
                while len(self._restorers) > _RESTORERS_KEPT:
                    self._restorers.popitem(last=False)
            self._restorers.move_to_end(key)
            return found

    def model(self, digest: str, *, reduced: bool) -> Model:
        """Return a warm model; ``reduced``: whether less than float32 may be used.

        Raises
        ------
        ModelError, DeviceError
            It cannot be loaded.
        """
        key = (digest, reduced)
        with self._lock:
            if key not in self._warm:
                own = self._equipment.settings
                self._warm[key] = load_model(
                    self._equipment.models[digest],
                    own.device,
                    own.threads,
                    reduced=reduced and own.reduced,
                    gpu_memory_gb=own.gpu_memory_gb,
                )
            return self._warm[key]


def known_answer(model: Model) -> Floats:
    """Return what a model's device makes of the known tile; raises ``InferenceError``."""
    return model.session.run(known_tile(small_shape(model.card), model.card))


def restore_here(message: Message) -> Message:
    """Restore on the worker that runs this: the only function of ours that Dask calls."""
    station = get_worker().plugins[NAME]
    assert isinstance(station, Station)
    return station.restore(message)
