"""The numbers of a run, a line every few steps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from toolkit.training.loop import StepResult
from toolkit.training.measurement import Measurement
from toolkit.training.storage.files import write_text_atomic


class Metrics:
    """metrics.jsonl: one object a line, cut back to the resumed step when opened."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.loss: float | None = None
        """Mean loss in the last line."""
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    continue  # the last line of a killed process
        write_text_atomic(path, "".join(f"{line}\n" for line in kept))

    def __enter__(self) -> Metrics:
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, done: StepResult, losses: Sequence[float]) -> None:
        """One line: the mean loss since the line before, and the facts of this step; null where not finite."""
        finite = [value for value in losses if math.isfinite(value)]
        self.loss = sum(finite) / len(finite) if finite else None
        norm = done.grad_norm if math.isfinite(done.grad_norm) else None
        facts = {"step": done.step, "loss": self.loss, "lr": done.lr, "grad_norm": norm}
        self._file.write(json.dumps({**facts, "seconds": round(done.seconds, 4)}) + "\n")

    def measured(self, measurement: Measurement) -> None:
        """One line of the loss at fixed noise, with what each example cost (convergence.read)."""
        self._file.write(json.dumps(measurement.to_mapping()) + "\n")
