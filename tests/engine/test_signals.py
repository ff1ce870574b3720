"""The first signal asks, the second ends, and afterwards all is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from live_restore.engine.signals import ending_on_signals, stopping_on_signals

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="a process cannot send itself these signals there"
)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_asks_and_former_handlers_come_back(number: signal.Signals, code: int) -> None:
    former = signal.getsignal(number)
    asked: list[str] = []
    with stopping_on_signals(lambda _: asked.append("stop")) as exit_code:
        assert exit_code() == 0
        os.kill(os.getpid(), number)
        assert asked == ["stop"]
        assert exit_code() == code
    assert signal.getsignal(number) == former


def test_a_leash_that_is_dropped_is_not_told_as_a_signal() -> None:
    code = (
        "from live_restore.engine.signals import end_as_let_go, stopping_on_signals\n"
        "with stopping_on_signals(print): end_as_let_go()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "the program that started it has ended, or asked it to stop\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ends_at_once(number: signal.Signals) -> None:
    code = (
        "import os, sys, signal; from live_restore.engine.signals import stopping_on_signals\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with stopping_on_signals(lambda _: print('asked', flush=True)):\n"
        f"    os.kill(os.getpid(), {int(number)}); os.kill(os.getpid(), {int(number)})\n"
        "print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-number, "asked\n")


def test_ctrl_c_unwinds_as_ever_and_sigterm_alike() -> None:
    former, former_ctrl_c = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended, ending_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == former
    with ending_on_signals():
        assert signal.getsignal(signal.SIGINT) == former_ctrl_c
