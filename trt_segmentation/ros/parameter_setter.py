# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Sets a parameter of another node."""

from concurrent.futures import Future
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter


class ParameterSetter:
    """A client of a node's service ``set_parameters``.

    Use it in the thread of the executor of ``node`` only.

    Args:
        node: of this process.
        name: full name of the other node.
    """

    def __init__(self, node: Any, name: str) -> None:
        self._node = node
        self._client = node.create_client(SetParameters, f'{name}/set_parameters')

    def set(self, name: str, value: Any, answer: 'Future[str]') -> None:
        """Request a change.

        Args:
            name: of the parameter.
            value: its new value.
            answer: gets '' once the parameter has changed, else the reason why not.
        """
        if not self._client.service_is_ready():
            answer.set_result(f'{self._client.srv_name} is not available')
            return
        request = SetParameters.Request(parameters=[Parameter(name, value=value)
                                                    .to_parameter_msg()])

        def finish(done: Any) -> None:
            if done.exception() is not None:
                answer.set_result(f'{self._client.srv_name}: {done.exception()}')
                return
            result, = done.result().results
            answer.set_result('' if result.successful else result.reason)

        self._client.call_async(request).add_done_callback(finish)

    def close(self) -> None:
        """Destroy the client."""
        self._node.destroy_client(self._client)
