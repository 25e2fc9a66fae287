# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The state of temporal smoothing between two runs: its weight, and its arrays on ONNX Runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class MeanWeight:
    """The weight of the previous mean, which is 0 for the first run after a reset."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._is_fresh = True

    @property
    def of_next_run(self) -> float:
        """The value of the graph's input ``smoothing``."""
        return 0.0 if self._is_fresh else self._weight

    def set_weight(self, weight: float) -> None:
        """Set the weight of the previous mean."""
        self._weight = weight

    def reset(self) -> None:
        """Forget the previous images: the weight is 0 for the next run."""
        self._is_fresh = True

    def advance(self) -> None:
        """Note that a run has written the mean."""
        self._is_fresh = False


class StateBuffers(MeanWeight):
    """Two arrays for each state, which a graph reads and writes alternately, without a copy.

    Args:
        control: float32 [], bound to the graph's input ``smoothing``.
    """

    def __init__(self, control: np.ndarray) -> None:
        super().__init__()
        self._control = control
        self._pairs: dict[tuple[str, str], list[np.ndarray]] = {}

    def bind(self, binding: Any, shapes: Mapping[tuple[str, str], Sequence[int]]) -> None:
        """Bind the arrays for the next run; they are kept while the shapes stay the same.

        Args:
            binding: ONNX Runtime's IOBinding.
            shapes: by the names of the input and the output of each state.
        """
        if {names: pair[0].shape for names, pair in self._pairs.items()} \
                != {names: tuple(shape) for names, shape in shapes.items()}:
            self.reset()
            self._pairs = {names: [np.zeros(shape, np.float32) for _ in range(2)]
                           for names, shape in shapes.items()}
        for names, pair in self._pairs.items():
            for name, array, bind in zip(names, pair, (binding.bind_input, binding.bind_output),
                                         strict=True):
                bind(name, 'cpu', 0, np.float32, array.shape, array.ctypes.data)
        self._control[...] = self.of_next_run

    def advance(self) -> None:
        """After a run, make its output the input of the next ``bind``."""
        super().advance()
        for pair in self._pairs.values():
            pair.reverse()
