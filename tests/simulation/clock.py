"""An event loop whose time is a number: it jumps to the next timer instead of waiting for it.

Rules of this file: the same program gives the same order of steps, always; nothing here reads a
real clock, a socket or a signal. A program that waits for nothing that could ever come is `Stuck`,
one that never lets time move is `Spinning`: both would be a process that hangs in the field.

A `Life` is a process within the loop. What is started in a life's context belongs to it, and
`Life.end` is `kill -9`: none of its steps is ever taken again, no clean-up runs, and whatever
others do to wake it is lost.
"""

import asyncio
import contextvars
import selectors
import weakref
from asyncio import base_events
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Steps without time moving. A gateway of 32 meters settles any one moment in some hundred.
MAX_STEPS_AT_ONE_TIME = 20_000


class Stuck(BaseException):
    """Nothing is ready and no timer is set: the program waits for ever."""


class Spinning(BaseException):
    """Step upon step is taken and time does not move."""


class Life:
    """One process: everything started in its context, until it ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = False
        self._context = contextvars.copy_context()
        self._context.run(_LIFE.set, self)
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._kept: list[asyncio.Task[Any]] = []

    def run(self, function: Callable[[], T]) -> T:
        """Call `function` as this process."""
        return self._context.run(function)

    def start(self, work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """A task of this process."""
        return asyncio.get_running_loop().create_task(work, name=name, context=self._context)

    def end(self) -> None:
        """Take no further step of it. Its tasks are kept, so that nothing cleans up after them."""
        self.ended = True
        self._kept = self.tasks()
        for task in self._kept:
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Its tasks that have not ended."""
        return [task for task in self._tasks if not task.done()]


_LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class _NoSelector(selectors.BaseSelector):
    """Waiting is moving the clock."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self._loop.pass_time(timeout)
        return []

    def register(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("a simulation has no sockets")

    def unregister(self, *_: Any) -> Any:
        raise NotImplementedError("a simulation has no sockets")

    def get_map(self) -> Any:
        return {}

    def close(self) -> None:
        pass


class VirtualLoop(base_events.BaseEventLoop):
    """asyncio's own loop over a clock that jumps. `steps` counts turns of the loop."""

    def __init__(self, start_s: float = 1000.0) -> None:
        super().__init__()
        self._selector = _NoSelector(self)
        self._now_s = start_s
        self._steps_here = 0
        self.steps = 0
        self.set_task_factory(_task)
        self._at_step: tuple[int, Callable[[], None]] | None = None

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def after_steps(self, steps: int, then: Callable[[], None]) -> None:
        """Call `then` between two turns of the loop, so many turns from now."""
        self._at_step = (self.steps + steps, then)

    def pass_time(self, timeout: float | None) -> None:
        """What the loop does instead of waiting. Raises `Stuck` or `Spinning`."""
        self.steps += 1
        if self._at_step is not None and self.steps >= self._at_step[0]:
            (_, then), self._at_step = self._at_step, None
            then()
        if timeout is None:
            raise Stuck(f"nothing is left to wait for at {self._now_s:.3f} s")
        if timeout <= 0:
            self._steps_here += 1
            if self._steps_here > MAX_STEPS_AT_ONE_TIME:
                raise Spinning(f"{self._steps_here} steps at {self._now_s:.3f} s")
            return
        self._steps_here = 0
        self._now_s = max(self._now_s, self._scheduled[0].when())  # type: ignore[attr-defined]

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; a step of an ended life is not taken."""
        return super().call_soon(self._alive, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's; a step of an ended life is not taken."""
        return super().call_at(when, self._alive, callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, by `call_at`."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    @staticmethod
    def _alive(callback: Any, *args: Any) -> None:
        life = _LIFE.get()
        if life is None or not life.ended:
            callback(*args)

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def _task(
    loop: asyncio.AbstractEventLoop,
    work: Any,
    context: contextvars.Context | None = None,
) -> "asyncio.Task[Any]":
    """A task, entered in the list of its life."""
    life = _LIFE.get() if context is None else context.get(_LIFE)
    task = asyncio.Task(work, loop=loop, context=context)
    if life is not None:
        life._tasks.add(task)
    return task


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run `main` on `loop` to its end. Raises what it raises, `Stuck` or `Spinning`."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
