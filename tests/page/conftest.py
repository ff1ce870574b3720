"""One restored run for all tests of the page; what they do to it is nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the page is an extra: pip install 'live-restore[page]'")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from starlette.testclient import TestClient

from live_restore.settings.layers import FILE_VARIABLES
from tests.page.runs import Recorded, client_of, record_and_restore
from tests.support.processes import ON_THE_PROCESSOR


@pytest.fixture(autouse=True)
def on_the_processor(state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page starts measures no devices: no test here is about them."""
    monkeypatch.setenv(FILE_VARIABLES[0], str(ON_THE_PROCESSOR))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A folder of files, and an acquisition of 2 positions x 3 times x 2 channels, restored."""
    return record_and_restore(tmp_path_factory.mktemp("page"))


@pytest.fixture
def client(recorded: Recorded) -> Iterator[TestClient]:
    """The page's application in this process, as a browser of this computer sees it."""
    with client_of(recorded.root, recorded.journal) as client:
        yield client


@pytest.fixture
def chromium() -> Path:
    """Debian's Chromium, or another one that is installed."""
    for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"):
        if os.access(path, os.X_OK):
            return Path(path)
    pytest.skip("no Chromium on this computer: apt-get install chromium")
