"""The workers of a campaign and their supervisor: who ends is started again."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from state.store import wipe
from streams.tools.child import free_port
from streams.tools.terminal import CommandError
from tests.forked import ForkedWorker, ForkServer

STOP_SECONDS = 25.0


@dataclass
class Slot:
    """A place for one worker at a time, with its name and local state."""

    name: str
    worker: ForkedWorker | None = None
    armed: str = ""
    """The step at which it kills itself, as ``SEGMENTS_TEST_KILL_AT`` has it."""
    asleep: bool = False
    started: float = 0.0


class Fleet:
    """One to three forked workers of one app. ``note`` is told what happens."""

    def __init__(
        self, server: ForkServer, directory: Path, settings: dict[str, str], note: Callable[[str], None]
    ) -> None:
        self.slots: dict[str, Slot] = {}
        self.kills: Counter[str] = Counter()
        """Kills by kind: ``random``, or the step's name."""
        self.ends: Counter[str] = Counter()
        """Workers that ended by themselves, by exit status."""
        self._server = server
        self._directory = directory
        self._settings = settings
        self._note = note
        self.file_for: Callable[[], Path | None] = lambda: None
        """The segments file of the next worker that starts; None: none of its own."""

    def add(self, name: str, armed: str = "") -> Slot:
        """A new worker."""
        slot = self.slots[name] = Slot(name)
        self._start(slot, armed)
        return slot

    def _start(self, slot: Slot, armed: str = "") -> None:
        slot.armed, slot.asleep, slot.started = armed, False, time.monotonic()
        settings = self._settings | {"worker_name": slot.name, "data_dir": str(self._directory / "state")}
        if armed:
            settings["test_kill_at"] = armed
        if (file := self.file_for()) is not None:
            settings["segments_file"] = str(file)
        slot.worker = ForkedWorker(self._server, free_port(), self._directory / f"{slot.name}.log", **settings)
        self._note(f"{slot.name} started{f', to die at {armed}' if armed else ''}")

    def tend(self) -> None:
        """Start again who ended, without a step to die at."""
        for slot in self.slots.values():
            if slot.worker is not None and (status := slot.worker.exit_status) is not None:
                if slot.armed and status == -signal.SIGKILL:
                    self.kills[slot.armed.partition(":")[0]] += 1
                    self._note(f"{slot.name} died at {slot.armed}")
                else:
                    self.ends[str(status)] += 1
                    self._note(f"{slot.name} ended by itself, exit status {status}")
                self._start(slot)

    def kill(self, slot: Slot, armed: str = "", wiped: bool = False) -> None:
        """SIGKILL now, and start again: with a step to die at, with or without its local state."""
        self.tend()
        assert slot.worker is not None
        slot.worker.signal(signal.SIGKILL)
        slot.worker.stop()
        self.kills["random"] += 1
        if wiped:
            wipe(self._directory / "state" / slot.name)
        self._note(f"{slot.name} killed{', its disk wiped' if wiped else ''}")
        self._start(slot, armed)

    def kill_all(self, meanwhile: Callable[[], None]) -> None:
        """SIGKILL for all at once, and none is started again until ``meanwhile`` is over."""
        self.tend()
        for slot in self.slots.values():
            assert slot.worker is not None
            slot.worker.signal(signal.SIGKILL)
            slot.worker.stop()
            self.kills["all"] += 1
        self._note("all workers killed")
        meanwhile()
        for slot in self.slots.values():
            self._start(slot)

    def pause(self, slot: Slot) -> None:
        """SIGSTOP."""
        assert slot.worker is not None
        slot.asleep = True
        slot.worker.signal(signal.SIGSTOP)
        self._note(f"{slot.name} sleeps")

    def wake(self, slot: Slot) -> None:
        """SIGCONT."""
        assert slot.worker is not None
        slot.asleep = False
        slot.worker.signal(signal.SIGCONT)
        self._note(f"{slot.name} wakes")

    def remove(self, name: str) -> None:
        """Stop in order and do not start again. One that does not stop is killed, and counted as that."""
        slot = self.slots.pop(name)
        assert slot.worker is not None
        slot.worker.stop()
        if slot.worker.exit_status == -signal.SIGKILL:
            self.kills["at its end"] += 1
        elif slot.worker.exit_status:
            self.ends[str(slot.worker.exit_status)] += 1
        self._note(f"{name} stopped, exit status {slot.worker.exit_status}")

    def statuses(self) -> list[dict[str, Any]]:
        """Of all workers that answer."""
        found = []
        for slot in list(self.slots.values()):
            if slot.worker is not None and not slot.asleep:
                try:
                    status = slot.worker.status()
                except (CommandError, ValueError):
                    continue  # it ended; the next look starts it again
                if status:
                    found.append(status)
        return found

    def close(self) -> None:
        """SIGKILL for all that is left."""
        for slot in self.slots.values():
            if slot.worker is not None:
                slot.worker.signal(signal.SIGKILL)
                slot.worker.stop()
