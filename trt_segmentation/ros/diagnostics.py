# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the node counts, and how it tells it on /diagnostics."""

from collections import Counter
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

KEEP_LATEST = 'keep_latest'
"""A newer frame came while the one before was worked on, or the transport lost it."""

NO_SUBSCRIBER = 'no_subscriber'
BAD_FRAME = 'bad_frame'
BACKEND_FAILED = 'backend_failed'
DEFECT = 'defect'


@dataclass
class FrameCounts:
    """Where every frame of the camera went since the node was activated.

    Attributes:
        received: frames that reached the callback.
        segmented: frames whose results were published.
        dropped: all others, by reason.
    """

    received: int = 0
    segmented: int = 0
    dropped: Counter = field(default_factory=Counter)
    _last_sequence: int | None = None

    def note_arrival(self, sequence: int | None) -> None:
        """Count a frame, and those that the publisher sent before it and that never came.

        Args:
            sequence: the publisher's sequence number; None where the middleware has none.
        """
        self.received += 1
        if sequence is None:
            return
        if self._last_sequence is not None and sequence > self._last_sequence:
            self.dropped[KEEP_LATEST] += sequence - self._last_sequence - 1
        self._last_sequence = sequence


def diagnostic_array(stamp, name: str, state: str, fault: str, facts: dict[str, object],
                     counts: FrameCounts) -> DiagnosticArray:
    """Return the node's state as one message.

    Args:
        stamp: builtin_interfaces/Time of now.
        name: the node's full name.
        state: what the node does, in words.
        fault: '' or the sentence that says what is wrong.
        facts: what runs: backend, model and so on.
        counts: of all frames so far.
    """
    values = {**facts, 'frames received': counts.received, 'frames segmented': counts.segmented,
              **{f'frames dropped, {reason}': number
                 for reason, number in sorted(counts.dropped.items())}}
    status = DiagnosticStatus(
        level=DiagnosticStatus.ERROR if fault else DiagnosticStatus.OK,
        name=f'{name.lstrip("/")}: segmentation', hardware_id='',
        message=fault or state,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()])
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array
