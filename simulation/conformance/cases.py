"""Cases and verdicts: the form of a case, its ways to fail, and the runner.

A case is an async function with a name, the clauses that it exercises and a time limit. It raises CaseFailed with the clause
that is broken, or NotApplicable with the reason (a limit that this server does not tell, one token where two users are needed);
else it has passed. Cases are independent, each with runs and clients of its own, and run concurrently. Cases that mostly wait
(`is_slow`) start first and do not count against the limit of cases that run at a time.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import trio

from simulation.conformance.frames import BadFrame

Status = Literal["passed", "failed", "not applicable"]
Bench = TypeVar("Bench")

AT_A_TIME = 12
LIMIT_S = 45.0
SLOW_LIMIT_S = 75.0


class CaseFailed(Exception):
    """The implementation does not do what the clause says."""

    def __init__(self, clause: str, message: str) -> None:
        super().__init__(message)
        self.clause = clause


class CannotJudge(Exception):
    """Nothing can be judged; the message says why, and what to do. Ends the whole run."""


class NotApplicable(Exception):
    """The case cannot judge this implementation, as it is configured."""


_VERDICTS = (CaseFailed, BadFrame, NotApplicable, CannotJudge)
_KIT_FAULTS = (AssertionError, AttributeError, LookupError, NameError, TypeError)


@dataclass(frozen=True, slots=True)
class KitCase(Generic[Bench]):
    """One thing that is judged. `clauses` are all that it exercises, the most important first."""

    name: str
    clauses: tuple[str, ...]
    summary: str
    run: Callable[[Bench], Awaitable[None]]
    is_slow: bool = False

    @property
    def limit_s(self) -> float:
        return SLOW_LIMIT_S if self.is_slow else LIMIT_S


@dataclass(frozen=True, slots=True)
class CaseVerdict:
    """The outcome of one case. `clause` is the one that is broken; `took_s` is in seconds."""

    case: str
    summary: str
    clauses: tuple[str, ...]
    status: Status
    took_s: float
    clause: str | None = None
    message: str = ""


class Registry(Generic[Bench]):
    """The cases of one side, in the order in which they are written down."""

    def __init__(self) -> None:
        self.cases: list[KitCase[Bench]] = []

    def case(
        self, name: str, clauses: str, *, is_slow: bool = False
    ) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[[Bench], Awaitable[None]]]:
        """Decorator: `clauses` are separated by spaces; the docstring's first line is the summary."""

        def add(function: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
            summary = (function.__doc__ or "").strip().splitlines()[0].rstrip(".")
            self.add(KitCase(name, tuple(clauses.split()), summary, function, is_slow))
            return function

        return add

    def add(self, case: KitCase[Bench]) -> None:
        if any(case.name == other.name for other in self.cases):
            raise ValueError(f"two cases are called {case.name}")
        self.cases.append(case)


def require(condition: object, clause: str, message: str) -> None:
    """Raise CaseFailed unless the condition holds; `message` says what was found and what was expected."""
    if not condition:
        raise CaseFailed(clause, message)


async def run_cases(
    cases: Sequence[KitCase[Bench]],
    open_bench: Callable[[KitCase[Bench]], AbstractAsyncContextManager[Bench]],
    *,
    at_a_time: int = AT_A_TIME,
    slow_at_a_time: int | None = None,
    on_verdict: Callable[[CaseVerdict], None] = lambda verdict: None,
) -> list[CaseVerdict]:
    """All verdicts, in the order of the cases; `on_verdict` gets each as soon as it is there."""
    verdicts: dict[str, CaseVerdict] = {}
    quick = trio.Semaphore(at_a_time)
    slow = trio.Semaphore(slow_at_a_time or max(1, len(cases)))

    async def judge(case: KitCase[Bench]) -> None:
        async with slow if case.is_slow else quick:
            verdict = await _judge(case, open_bench)
        verdicts[case.name] = verdict
        on_verdict(verdict)

    async with trio.open_nursery() as nursery:
        for case in sorted(cases, key=lambda case: not case.is_slow):
            nursery.start_soon(judge, case)
    return [verdicts[case.name] for case in cases]


async def _judge(case: KitCase[Bench], open_bench: Callable[[KitCase[Bench]], AbstractAsyncContextManager[Bench]]) -> CaseVerdict:
    start = trio.current_time()
    limit = trio.CancelScope()

    def verdict(status: Status, clause: str | None = None, message: str = "") -> CaseVerdict:
        took_s = round(trio.current_time() - start, 3)
        return CaseVerdict(case.name, case.summary, case.clauses, status, took_s, clause, message)

    try:
        async with open_bench(case) as bench:
            start = trio.current_time()  # the bench may have waited for a run that another case used
            limit.deadline = start + case.limit_s
            with limit:
                await case.run(bench)
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, CannotJudge):
            raise cause from None
        match cause:
            case NotApplicable():
                return verdict("not applicable", None, str(cause))
            case CaseFailed() | BadFrame():
                return verdict("failed", cause.clause, str(cause))
            case _:
                where = "a fault of the kit" if isinstance(cause, _KIT_FAULTS) else "the case could not go on"
                message = f"{where}: {type(cause).__name__}: {cause}"
                return verdict("failed", case.clauses[0], message)
    if limit.cancelled_caught:
        return verdict("failed", case.clauses[0], f"not done within {case.limit_s:g} s")
    return verdict("passed")


def _cause(error: BaseException) -> BaseException:
    """The cause of a group of exceptions: a fault of the kit, else a verdict, else the first exception."""
    order = {False: 1, True: 0}
    found = list(_leaves(error))
    return min(found, key=lambda each: (order[isinstance(each, _KIT_FAULTS)], order[isinstance(each, _VERDICTS)]))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
