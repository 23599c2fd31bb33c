"""Running one function on many arguments, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def in_processes(
    run: Callable[[Argument], Result], arguments: Iterable[Argument], *, jobs: int
) -> Iterator[Result]:
    """Yield the results in the order of the arguments, each as soon as it is there.

    Parameters
    ----------
    run : callable
        Must be picklable where `jobs` is above 1.
    arguments : iterable
    jobs : int
        Number of processes; 1 stays in this one.
    """
    if jobs == 1:
        yield from map(run, arguments)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator", inner_max_num_threads=1, backend="loky")
    yield from parallel(delayed(run)(argument) for argument in arguments)
