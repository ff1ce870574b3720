"""A restorer whose stacks are restored by the workers of a scheduler."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from live_restore.cluster.ahead import Ahead
from live_restore.cluster.availability import Availability, Report
from live_restore.cluster.connection import NobodyThereError
from live_restore.cluster.link import Link, Reply, StoppedError, WorkerDiedError
from live_restore.cluster.message import Message
from live_restore.cluster.protocol import (
    Answer,
    CameraNoise,
    Offer,
    Request,
    answer_of,
    proof_of,
    to_message,
    wrong_numbers,
)
from live_restore.cluster.values import DamagedMessageError
from live_restore.errors import (
    DeviceMemoryError,
    InferenceError,
    RuntimeFailureError,
    StackRefusedError,
)
from live_restore.inference.backends.session import Device, Floats
from live_restore.inference.further_passes import Turns
from live_restore.inference.model.model import Model
from live_restore.inference.network_runs import CancelledError
from live_restore.inference.restored import Restored
from live_restore.inference.stack_restorer import StackRestorer
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Mask, Volume

# A stack that kills its worker must not kill all of them: so many, and the journal counts it as one
# failed attempt, as it counts the deaths of its own process.
_MOST_DEATHS = 3
_TICK_S = 0.2


class RemoteSession:
    """What a model's session is here: where it ran. Tiles stay where the stack is."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def run(self, tile: Floats) -> Floats:
        """Refuse: whole stacks travel."""
        raise RuntimeFailureError(
            f"a tile of {tile.shape} cannot be sent to {self.device.name}",
            None,
            "choose a device of this computer",
        )


class _Thread(threading.local):
    model: Model | None = None


class RemoteRestorer:
    """A model on other computers.

    Where nobody can restore there, ``local`` does, or the stack waits; either is reported, and so
    is the end of it. A worker that dies costs nothing but time. One that gives a wrong answer to
    the question that goes with every stack is set aside, and the stack goes to another.

    Parameters
    ----------
    link
        To the scheduler.
    model
        As it is known here; its session says where the workers are.
    known_answer
        What the trusted device makes of the known tile.
    options
        From ``protocol.options_text``.
    gain_every
        Have the gain over raw estimated of one stack in so many; 0: of none.
    less_light_every
        And of one in so many of these what less light would cost.
    ahead
        Bounds what is on its way.
    report
        Takes what a person must know.
    local
        Who restores where nobody else can; ``None``: wait.
    """

    def __init__(
        self,
        link: Link,
        model: Model,
        known_answer: Floats,
        options: str,
        gain_every: int,
        less_light_every: int,
        ahead: Ahead,
        report: Report,
        local: StackRestorer | None = None,
    ) -> None:
        self._link = link
        self._model = model
        self._offer = Offer(model.card.name, model.digest)
        self._proof = proof_of(known_answer)
        self._request = _RequestMaker(model.digest, options, Turns(gain_every, less_light_every))
        self._ahead = ahead
        self._news = Availability(report)
        self._local = local
        self._thread = _Thread()

    @property
    def right_answer(self) -> Floats:
        """What a worker's device must make of the known tile."""
        return self._proof

    @property
    def model(self) -> Model:
        """The model; its device is the one that restored this thread's last stack."""
        return self._thread.model or self._model

    def with_camera(
        self, camera: CameraSettings | None, bad_pixels: Mask | None = None
    ) -> RemoteRestorer:
        """Return this restorer for the stacks of a camera; all else is shared with this one."""
        other = copy.copy(self)
        if self._model.card.truth_psf_width == 1:
            noise = CameraNoise.of(camera)
            other._request = replace(self._request, camera=noise, bad_pixels=bad_pixels)
        else:
            other._request = replace(self._request, bad_pixels=bad_pixels)
        if self._local is not None:
            other._local = self._local.with_camera(camera, bad_pixels)
        return other

    def restore(self, stack: Volume, cancelled: Callable[[], bool] = lambda: False) -> Restored:
        """Let one stack be restored; see :meth:`Restorer.restore`.

        Raises
        ------
        StackRefusedError
            There is nothing to restore in it.
        RuntimeFailureError
            Workers died over it, or their runtime failed and still gives right answers.
        """
        message = self._request.of(stack)
        deaths = 0
        with self._ahead.sending(stack.nbytes, cancelled) as admitted:
            while admitted and not (deaths and cancelled()):
                began = time.perf_counter()
                try:
                    reply = self._link.ask(message, self._offer, cancelled)
                except NobodyThereError as error:
                    self._news.nobody(str(error), waits=self._local is None)
                    if self._local is not None:
                        return self._restore_here(stack, cancelled)
                    if _waited(cancelled):
                        continue
                    break
                except WorkerDiedError:
                    deaths += 1
                    if deaths >= _MOST_DEATHS:
                        raise RuntimeFailureError(
                            f"{deaths} workers of {self._link.address} died while they had it",
                            None,
                            "look at what they reported",
                        ) from None
                    continue
                except StoppedError:
                    break
                answer = self._trusted(reply, stack)
                if answer is not None:
                    self._news.again(self._link.address)
                    return self._result(answer, time.perf_counter() - began)
        raise CancelledError

    def close(self) -> None:
        """Let go of the scheduler."""
        self._link.close()

    def _restore_here(self, stack: Volume, cancelled: Callable[[], bool]) -> Restored:
        assert self._local is not None
        restored = self._local.restore(stack, cancelled)
        self._thread.model = self._local.model
        return restored

    def _trusted(self, reply: Reply, stack: Volume) -> Answer | None:
        """Return the answer of a worker that is well; set aside one that is not."""
        try:
            answer = answer_of(reply.message, stack)
            device = answer.device_of(self._link.address) if answer.restored else None
        except DamagedMessageError as error:
            self._set_aside(reply, f"its answer cannot be read: {error}")
            return None
        if answer.outcome == "unsuited":
            self._set_aside(reply, f"it {answer.what}")
            return None
        if answer.outcome == "refused":
            return answer
        if why := wrong_numbers(answer.proof, self._proof, device):
            self._set_aside(reply, f"{why}; {answer.what}" if answer.what else why)
            return None
        return answer

    def _set_aside(self, reply: Reply, reason: str) -> None:
        reason = f"worker {reply.worker}: {reason}"
        self._link.set_aside(reply.worker, reason)
        self._news.report(f"{reason}; it gets no more stacks, and its last one goes to another")

    def _result(self, answer: Answer, took_s: float) -> Restored:
        if answer.outcome == "refused":
            raise StackRefusedError(answer.what, None, answer.remedy)
        if answer.restored is None:
            kinds = {each.__name__: each for each in (DeviceMemoryError, InferenceError)}
            raise kinds.get(answer.error, RuntimeFailureError)(answer.what, None, answer.remedy)
        device = answer.device_of(self._link.address)
        self._thread.model = replace(self._model, session=RemoteSession(device))
        there_s = answer.restored.seconds
        sent = {"transfer": max(0.0, took_s - sum(there_s.values()))}
        return replace(answer.restored, seconds={**there_s, **sent})


def _waited(cancelled: Callable[[], bool]) -> bool:
    """Wait a moment; return whether to go on."""
    if cancelled():
        return False
    time.sleep(_TICK_S)
    return True


@dataclass(frozen=True)
class _RequestMaker:
    """Makes requests, of some stacks with the question for the gain and the cost of less light."""

    digest: str
    options: str
    turns: Turns
    camera: CameraNoise | None = None
    bad_pixels: Mask | None = None

    def of(self, stack: Volume) -> Message:
        due = (False, False) if self.camera is None else self.turns.next()
        return to_message(
            Request(self.digest, self.options, stack, self.camera, self.bad_pixels, *due)
        )
