"""Checkpoints saved in the background: training waits for a copy in memory, never for a disk or an upload."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from pipelines.training.checkpoints import Checkpoint, Checkpoints, OvertakenError, Tensors

PATIENCE = 3
"""Saves that fail one after the other before the training stops: it would lose too much."""


class RetentionError(Exception):
    """Older checkpoints could not be removed yet; the new one is saved."""


class Saver:
    """Saves one attempt's checkpoints, one at a time and in their order, in a thread of its own.

    `saved` hears of each checkpoint once it cannot be lost any more, `failed` of each step whose could not be
    saved, or, with a RetentionError, after whose older ones could not be removed. Both are called in that
    thread. What they raise, and that a newer attempt has begun, is raised by the next `check`, `save` or
    `finish`.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        attempt: int,
        saved: Callable[[Checkpoint], None],
        failed: Callable[[int, Exception], None],
    ) -> None:
        self.checkpoints, self.attempt, self.saved, self.failed = checkpoints, attempt, saved, failed
        self.failures = 0
        """How many saves have failed since the last that did not."""
        self.failure: Exception | None = None
        """Why the last one did."""
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] = Future()
        self._writing.set_result(None)

    def save(self, step: int, tensors: Tensors, record: Mapping[str, Any]) -> None:
        """Take a copy and have it saved; waits only for the one before, where that is still being written.

        What fails is told to `failed`, and the next call is the next try.

        Raises:
            OvertakenError: a newer attempt has begun.
            Exception: why the last save failed, as the third in a row.
            TypeError: the record holds what JSON cannot.
        """
        self._writing.result()
        snapshot, kept = Snapshot(tensors), json.loads(json.dumps(record))
        self._writing = self._thread.submit(self._write, step, snapshot, kept)

    def check(self) -> None:
        """Raise what ended the saving, without waiting for what is under way."""
        if self._writing.done():
            self._writing.result()

    def wait(self) -> None:
        """Wait for what is under way."""
        self._writing.result()

    def finish(self) -> None:
        """Wait for the last checkpoint.

        Raises:
            OvertakenError: a newer attempt has begun.
            Exception: why it could not be saved.
        """
        try:
            self._writing.result()
        finally:
            self.close()
        if self.failure:
            raise self.failure

    def close(self) -> None:
        """Wait for what is under way, whatever becomes of it: nothing is written once this has returned."""
        self._thread.shutdown()

    def _write(self, step: int, snapshot: "Snapshot", record: Mapping[str, Any]) -> None:
        try:
            checkpoint = self.checkpoints.seal(self.attempt, step, snapshot.whole(), record)
        except OvertakenError:
            raise
        except Exception as error:
            self.failure, self.failures = error, self.failures + 1
            self.failed(step, error)
            if self.failures >= PATIENCE:
                raise
            return
        self.failure, self.failures = None, 0
        self.saved(checkpoint)
        self._retain(checkpoint)

    def _retain(self, checkpoint: Checkpoint) -> None:
        """Remove older ones; what stays now goes after the next save."""
        try:
            self.checkpoints.retain(checkpoint)
        except OvertakenError:
            raise
        except Exception as error:
            late = RetentionError(f"older checkpoints are not removed yet: {error}")
            late.__cause__ = error
            self.failed(checkpoint.step, late)


class Snapshot:
    """A copy of tensors as they are now, in memory of its own on the CPU."""

    def __init__(self, tensors: Tensors) -> None:
        self._groups = {
            group: {name: _copied(tensor) for name, tensor in named.items()}
            for group, named in tensors.items()
        }
        # What changes the tensors from now on comes behind the copies, on the same stream: only who reads the
        # copies has to wait for them.
        streams = {one.device for named in tensors.values() for one in named.values() if one.is_cuda}
        self._events = [torch.cuda.current_stream(device).record_event() for device in streams]

    def whole(self) -> Tensors:
        """The copy, once it is complete."""
        for event in self._events:
            event.synchronize()
        return self._groups


def _copied(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    if not tensor.is_cuda:
        return tensor.clone(memory_format=torch.contiguous_format)
    # Only into pinned memory does the GPU copy by itself.
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)
