# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node with robust transitions on every supported ROS 2 distribution."""

import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterType, SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from trt_segmentation.errors import SegmentationError
from trt_segmentation.ros.log_bridge import LogBridge

_RclError = rclpy_implementation.RCLError
_LAST_TYPE = ParameterType.PARAMETER_STRING_ARRAY


class GuardedLifecycleNode(LifecycleNode):
    """A LifecycleNode that differs from rclpy's in five points:

    - An invalid transition returns ``success=False`` or ``ERROR``. Up to Jazzy, rclpy raises
      RCLError instead, which terminates the process.
    - A request with a parameter of an unknown type is refused; rclpy raises ValueError, which
      terminates the process.
    - An exception in a transition is logged and stored in ``fault``; rclpy ignores it silently.
    - Transitions can be triggered from any thread. They are serialized by a lock, and the entities
      that they destroy stay valid until the executor no longer waits for them.
    - Every method that destroys a publisher also removes it from the managed entities.

    A subclass defines ``configure``, ``activate``, ``deactivate`` and ``release``; each may raise.

    Args:
        node_name: name of the node.
        kwargs: of ``rclpy.lifecycle.LifecycleNode``.

    Attributes:
        fault: '' or why the last transition failed; reset when the node is configured again.
        log_bridge: forwards the log records of the package to the logger of this node.
    """

    def __init__(self, node_name: str, **kwargs: Any) -> None:
        self.fault = ''
        self._transitions = threading.RLock()
        self._retiring = threading.Lock()
        self._retired: dict[Any, Callable[[Any], bool]] = {}
        self._is_destroyed = False
        super().__init__(node_name, **kwargs)
        self.log_bridge = LogBridge(self.get_logger())
        self.log_bridge.attach()
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = self._guarded(service.callback)
            if service.srv_type in (SetParameters, SetParametersAtomically):
                service.callback = _with_known_types(service.callback)

    # Defined by a subclass

    def configure(self) -> None:
        """Acquire the resources of the node.

        Raises:
            SegmentationError: a resource is not available; the node stays unconfigured.
        """

    def activate(self) -> None:
        """Start processing."""

    def deactivate(self) -> None:
        """Stop processing; keep the resources."""

    def release(self) -> None:
        """Release all resources, in any state and after a partial failure."""

    # Called by rclpy

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``configure``."""
        self.fault = ''
        return self._work(self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``activate``, with the node's publishers active."""
        result = super().on_activate(state)
        return self._work(self.activate) if result == TransitionCallbackReturn.SUCCESS \
            else result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``deactivate``."""
        result = self._work(self.deactivate)
        return super().on_deactivate(state) if result == TransitionCallbackReturn.SUCCESS \
            else result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``release``."""
        return self._work(self.release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``release``."""
        return self._work(self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``release``; the node can be configured again."""
        return self._work(self.release)

    def trigger_configure(self) -> TransitionCallbackReturn:
        """Configure the node; return ERROR if its state does not allow it."""
        return self._trigger(super().trigger_configure)

    def trigger_activate(self) -> TransitionCallbackReturn:
        """Activate the node; return ERROR if its state does not allow it."""
        return self._trigger(super().trigger_activate)

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        """Deactivate the node; return ERROR if its state does not allow it."""
        return self._trigger(super().trigger_deactivate)

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        """Clean up the node; return ERROR if its state does not allow it."""
        return self._trigger(super().trigger_cleanup)

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        """Shut down the node; return ERROR if its state does not allow it."""
        return self._trigger(super().trigger_shutdown)

    def _trigger(self, transition: Callable[[], TransitionCallbackReturn],
                 ) -> TransitionCallbackReturn:
        with self._transitions:
            try:
                return transition()
            except _RclError as error:
                if self.context.ok():  # otherwise a signal has shut down ROS
                    self.get_logger().error('the transition is not possible in this state: '
                                            f'{error}')
                return TransitionCallbackReturn.ERROR

    def _guarded(self, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Wrap a service callback: an invalid transition is answered instead of raised."""
        def answer(request: ChangeState.Request, response: ChangeState.Response,
                   ) -> ChangeState.Response:
            with self._transitions:
                try:
                    return callback(request, response)
                except _RclError as error:
                    requested = request.transition.label or request.transition.id
                    self.get_logger().error(
                        f'transition {requested} is not possible in this state: {error}')
                    response.success = False
                    return response
        return answer

    def _work(self, work: Callable[[], None]) -> TransitionCallbackReturn:
        """Run the work of a transition; log and store its error."""
        try:
            with self.log_bridge.capturing():
                work()
        except Exception as error:
            if not self.context.ok():  # a signal has shut down ROS, so that any call of it fails
                return TransitionCallbackReturn.FAILURE
            return self._failed(work, error)
        return TransitionCallbackReturn.SUCCESS

    def _failed(self, work: Callable[[], None], error: Exception) -> TransitionCallbackReturn:
        if not isinstance(error, SegmentationError):
            # A bug in this package; rclpy would ignore it silently.
            self.fault = traceback.format_exc()
            self.get_logger().fatal(self.fault)
            return TransitionCallbackReturn.ERROR
        self.fault = str(error)
        self.get_logger().error(f'{work.__name__} failed: {error}')
        return TransitionCallbackReturn.FAILURE if work == self.configure else \
            TransitionCallbackReturn.ERROR

    # Destroying entities while an executor may wait for them

    @property
    def subscriptions(self) -> Iterator[Any]:
        """The subscriptions that an executor waits for."""
        return self._without_retired(super().subscriptions)

    @property
    def timers(self) -> Iterator[Any]:
        """The timers that an executor waits for."""
        return self._without_retired(super().timers)

    @property
    def waitables(self) -> Iterator[Any]:
        """The waitables that an executor waits for."""
        return self._without_retired(super().waitables)

    def destroy_subscription(self, subscription: Any) -> bool:
        """Destroy a subscription as soon as no executor waits for it."""
        return self._retire(subscription, super().destroy_subscription)

    def destroy_timer(self, timer: Any) -> bool:
        """Destroy a timer as soon as no executor waits for it."""
        return self._retire(timer, super().destroy_timer)

    def destroy_publisher(self, publisher: Any) -> bool:
        """Destroy a publisher, managed or not, as soon as no executor waits for its events."""
        self._managed_entities.discard(publisher)
        return self._retire(publisher, super().destroy_publisher)

    def destroy_lifecycle_publisher(self, publisher: Any) -> bool:
        """Call ``destroy_publisher``; rclpy's own method does not wait for the executor."""
        return self.destroy_publisher(publisher)

    def _retire(self, entity: Any, destroy: Callable[[Any], bool]) -> bool:
        """Hide an entity from the executor, and destroy it in the executor's next iteration.

        rclpy's executors raise InvalidHandle if an entity is destroyed after they collect it and
        before they wait for it.
        """
        executor = self.executor
        if executor is None or self._is_destroyed:
            return destroy(entity)
        self._retired[entity] = destroy
        # One task per entity: an older task can run while the executor waits for this entity.
        executor.create_task(self._destroy_retired, entity)
        return True

    def _destroy_retired(self, entity: Any) -> None:
        with self._retiring:
            if entity in self._retired:
                self._retired[entity](entity)  # still hidden
                del self._retired[entity]

    def _without_retired(self, entities: Iterator[Any]) -> Iterator[Any]:
        if not self._retired:
            return entities
        hidden = {each for entity in list(self._retired)
                  for each in (entity, *getattr(entity, 'event_handlers', ()))}
        return (entity for entity in entities if entity not in hidden)

    def destroy_node(self) -> None:
        """Release all resources, in any state; a second call does nothing."""
        with self._transitions:
            if self._is_destroyed:
                return
            self._is_destroyed = True
            self.log_bridge.detach()
            try:
                self.release()
            finally:
                for entity in list(self._retired):
                    self._destroy_retired(entity)
                super().destroy_node()


def _with_known_types(callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap a service that sets parameters: with one of an unknown type, none is set."""
    def answer(request: Any, response: Any) -> Any:
        unknown = [each for each in request.parameters if each.value.type > _LAST_TYPE]
        if not unknown:
            return callback(request, response)
        result = SetParametersResult(
            reason=f'{unknown[0].name} has the type {unknown[0].value.type}; types are 0 to '
                   f'{_LAST_TYPE} (rcl_interfaces/ParameterType)')
        if isinstance(response, SetParametersAtomically.Response):
            response.result = result
        else:
            response.results = [result for _ in request.parameters]
        return response

    return answer
