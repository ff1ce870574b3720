"""From settings and a folder to what has its stacks done by the workers of a scheduler."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from live_restore.archive.dispatch import Dispatch
from live_restore.archive.task import Archive, answer_text, settings_text
from live_restore.cluster.connection import Connection
from live_restore.cluster.protocol import Offer
from live_restore.cluster.remote import RemoteRestorer
from live_restore.engine.pipeline import MakeStages
from live_restore.inference.model_set import ModelSet
from live_restore.settings.model import Settings


def archive_of(root: Path, settings: Settings, model_set: ModelSet) -> Archive:
    """Return what all tasks have in common; ``model_set`` is that of a scheduler's device."""
    remote = {
        rule.model: restorer
        for rule, restorer in model_set.rules
        if isinstance(restorer, RemoteRestorer)
    }
    return Archive(
        str(root),
        model_set.recipe,
        settings_text(settings),
        {name: restorer.model.digest for name, restorer in remote.items()},
        {each.model.digest: answer_text(each.right_answer) for each in remote.values()},
    )


def dispatching(root: Path, settings: Settings, model_set: ModelSet) -> MakeStages:
    """Return what makes a daemon's stacks be restored and published by workers.

    Parameters
    ----------
    root
        The archive's folder (absolute).
    settings
        All settings; their device is the scheduler.
    model_set
        From ``cluster.models.load_models``.
    """
    archive = archive_of(root, settings, model_set)
    offers = tuple(Offer(model.card.name, model.digest) for model in model_set.models)
    cluster = settings.cluster
    connection = Connection(settings.inference.device, cluster.certificates, cluster.timeout_s)
    return partial(Dispatch, connection, archive, offers)
