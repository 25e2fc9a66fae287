# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that survives what people do to it, on every distribution."""

import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from trt_segmentation.errors import SegmentationError
from trt_segmentation.ros.log_bridge import LogBridge

_RclError = rclpy_implementation.RCLError


class GuardedLifecycleNode(LifecycleNode):
    """rclpy's LifecycleNode, with four differences:

    - A transition that is not possible now is answered with ``success=False`` or ``ERROR``. Up to
      Jazzy, rclpy raises RCLError instead, which ends the process.
    - An exception in a transition is logged and kept in ``fault``; rclpy drops it silently.
    - Transitions may be triggered from any thread. They wait for each other, and what they
      destroy stays valid until the executor has finished the round in which it may wait for it.
    - A destroyed publisher is no longer managed, by whichever method it was destroyed.

    A subclass defines ``configure``, ``activate``, ``deactivate`` and ``release``; each may raise.

    Args:
        node_name: name of the node.
        kwargs: of ``rclpy.lifecycle.LifecycleNode``.

    Attributes:
        fault: '' or why the last transition failed, until the node is configured again.
        log_bridge: hands what the package logs on to the log of this node.
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
                service.callback = self._answering(service.callback)

    # What a subclass defines

    def configure(self) -> None:
        """Take what is needed to become active.

        Raises:
            SegmentationError: it cannot be had; the node stays unconfigured.
        """

    def activate(self) -> None:
        """Start working."""

    def deactivate(self) -> None:
        """Stop working; everything stays ready."""

    def release(self) -> None:
        """Free everything, from any state, also after a failure half-way."""

    # What rclpy calls

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
        """Configure the node; return ERROR where that is not possible now."""
        return self._trigger(super().trigger_configure)

    def trigger_activate(self) -> TransitionCallbackReturn:
        """Activate the node; return ERROR where that is not possible now."""
        return self._trigger(super().trigger_activate)

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        """Deactivate the node; return ERROR where that is not possible now."""
        return self._trigger(super().trigger_deactivate)

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        """Clean the node up; return ERROR where that is not possible now."""
        return self._trigger(super().trigger_cleanup)

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        """Shut the node down; return ERROR where that is not possible now."""
        return self._trigger(super().trigger_shutdown)

    def _trigger(self, transition: Callable[[], TransitionCallbackReturn],
                 ) -> TransitionCallbackReturn:
        with self._transitions:
            try:
                return transition()
            except _RclError as error:
                self.get_logger().error(f'the transition is not possible now: {error}')
                return TransitionCallbackReturn.ERROR

    def _answering(self, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Return the service's callback, which answers where rclpy's raises."""
        def answer(request: ChangeState.Request, response: ChangeState.Response,
                   ) -> ChangeState.Response:
            with self._transitions:
                try:
                    return callback(request, response)
                except _RclError as error:
                    asked = request.transition.label or request.transition.id
                    self.get_logger().error(f'transition {asked} is not possible now: {error}')
                    response.success = False
                    return response
        return answer

    def _work(self, work: Callable[[], None]) -> TransitionCallbackReturn:
        """Do a transition's work; log and keep what fails."""
        try:
            with self.log_bridge.at_work():
                work()
        except SegmentationError as error:
            self.fault = str(error)
            if work == self.configure:
                self.get_logger().error(f'cannot be configured: {error}')
                return TransitionCallbackReturn.FAILURE
            self.get_logger().error(f'{work.__name__} failed: {error}')
            return TransitionCallbackReturn.ERROR
        except Exception:  # a defect of ours; rclpy would swallow it silently
            self.fault = traceback.format_exc()
            self.get_logger().fatal(self.fault)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    # Destroying, while an executor may wait for what is destroyed

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
        """Do the same; rclpy's own, where there is one, would not wait."""
        return self.destroy_publisher(publisher)

    def _retire(self, entity: Any, destroy: Callable[[Any], bool]) -> bool:
        """Hide an entity from the executor, and destroy it in the executor's next round.

        rclpy's executors raise InvalidHandle where an entity goes between their gathering it and
        their waiting for it.
        """
        executor = self.executor
        if executor is None or self._is_destroyed:
            return destroy(entity)
        self._retired[entity] = destroy
        # Each by a task of its own: an older task may run while the executor waits for this one.
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
        """Free everything, from any state; a second time does nothing."""
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
