"""Long work that outlives its request, and its results until they are read."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Literal

from emoclip_clinical.records import InputError
from emoclip_clinical.serving.answers import Answer
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.open_files import none_left
from emoclip_clinical.serving.problems import Problem, shortened

LOG = logging.getLogger("emoclip_clinical.serving")

State = Literal["waiting", "running", "done", "failed", "cancelled"]
SecondsDone = Callable[[float, float], None]
Work = Callable[[SecondsDone], Awaitable[Answer]]
"""Is given what to call with the seconds of video that are done, and those in all."""
Clock = Callable[[], float]

REREAD_SECONDS = 60.0
"""A result that was read stays for so long, so that a torn download can be repeated."""
_ID_BYTES = 24
_SWEEP_SECONDS = 1.0
_RETRY_SECONDS = 10.0


def nothing() -> None:
    """Release nothing."""


class Job:
    """One piece of work; made by `Jobs.start`.

    Attributes
    ----------
    id : str
        Nobody guesses it.
    owner : str
        Who may ask for it.
    state : str
        ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
    seconds_done, seconds_total : float
        Of the video, both 0 where not known.
    expires : float
        When it is forgotten, on the store's clock; infinite before it is over.
    was_read : bool
        Whether its result was sent completely.
    faults : tuple of str
        Why it failed.
    """

    def __init__(self, *, owner: str) -> None:
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.owner = owner
        self.state: State = "waiting"
        self.seconds_done = self.seconds_total = 0.0
        self.expires = math.inf
        self.was_read = False
        self._ended = asyncio.Event()
        self._answer: Answer | None = None
        self._problem: Problem | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens with it."""
        return self._ended.is_set()

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it failed."""
        return () if self._problem is None else self._problem.faults

    async def wait(self) -> None:
        """Wait until it is over."""
        await self._ended.wait()

    def tell(self, done: float, total: float) -> None:
        """Take note of how far it is; from any thread."""
        self.seconds_done, self.seconds_total = done, total

    def end(
        self, state: State, *, answer: Answer | None = None, problem: Problem | None = None
    ) -> None:
        """Note how it ended."""
        self.state, self._answer, self._problem = state, answer, problem
        if state == "done":
            # The last picture that was sampled lies before the end.
            self.seconds_done = self.seconds_total = max(self.seconds_done, self.seconds_total)
        self._ended.set()

    def result(self) -> Answer:
        """Return what it found.

        Raises
        ------
        Problem
            409 where it is not over; else the one that it ended with.
        """
        if self._answer is not None:
            return self._answer
        if self._problem is not None:
            raise self._problem
        raise Problem(409, f"the job is {self.state}: it has no result")


class Place:
    """Room for a job to come; made by `Jobs.reserve`.

    Attributes
    ----------
    owner : str
        Who may ask for the job.
    """

    def __init__(self, owner: str, reserved: set[Place]) -> None:
        self.owner = owner
        self._reserved = reserved
        reserved.add(self)

    def give_back(self) -> None:
        """Leave the room to others; nothing happens where that was done."""
        self._reserved.discard(self)


class Jobs:
    """The jobs of one server; used in the thread of its event loop.

    Parameters
    ----------
    config : ServingConfig
        How many there may be, how many run at once, and how long results are kept.
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, *, config: ServingConfig, clock: Clock = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reserved: set[Place] = set()
        self._running = asyncio.Semaphore(config.decoders)
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def pending(self) -> int:
        """How many wait or run; those whose video still comes are not counted."""
        return sum(not job.is_over for job in self._jobs.values())

    @property
    def unread(self) -> int:
        """How many have a result that nobody has read; failures count, too."""
        return sum(job.is_over and not job.was_read for job in self._jobs.values())

    def reserve(self, owner: str) -> Place:
        """Keep a place for a job whose video is still to come.

        Parameters
        ----------
        owner : str
            Who may ask for the job.

        Returns
        -------
        Place
            To be given to `start`, or given back.

        Raises
        ------
        Problem
            429 where there are too many, altogether or of this owner.
        """
        self.sweep()
        self._make_room(owner)
        return Place(owner, self._reserved)

    def start(
        self,
        work: Work,
        *,
        owner: str,
        release: Callable[[], None] = nothing,
        place: Place | None = None,
    ) -> Job:
        """Begin a job.

        Parameters
        ----------
        work : callable
            Makes the answer.
        owner : str
            Who may ask for it.
        release : callable
            Called once when the job is over, however it ends, also where it never ran and where
            this raises.
        place : Place, optional
            What `reserve` returned; with one there is room.

        Returns
        -------
        Job

        Raises
        ------
        Problem
            429 where there are too many, altogether or of this owner.
        """
        try:
            (place or self.reserve(owner)).give_back()
        except Problem:
            release()
            raise
        job = Job(owner=owner)
        self._jobs[job.id] = job
        task = asyncio.create_task(self._run(job, work))
        self._tasks[job.id] = task
        # A task that is cancelled before its first step runs nothing of its own.
        task.add_done_callback(lambda _: self._over(job, release))
        self._sweep_later()
        return job

    def find(self, job_id: str, *, owner: str) -> Job:
        """Return a job.

        Raises
        ------
        Problem
            404 where there is none, or it is someone else's.
        """
        self.sweep()
        job = self._jobs.get(job_id)
        if job is None or job.owner != owner:
            raise Problem(404, "there is no such job; a result that was read is soon deleted")
        return job

    async def delete(self, job: Job) -> None:
        """Forget a job; one that is not over is cancelled, and its process is gone after this."""
        self._jobs.pop(job.id, None)
        task = self._tasks.get(job.id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def note_read(self, job: Job) -> None:
        """Let a result go soon that was sent completely."""
        job.was_read = True
        job.expires = min(job.expires, self._clock() + REREAD_SECONDS)

    def expires_in(self, job: Job) -> float | None:
        """Return in how many seconds a job is forgotten; None before it is over."""
        return None if math.isinf(job.expires) else max(0.0, job.expires - self._clock())

    def sweep(self) -> None:
        """Forget what has been kept for long enough."""
        now = self._clock()
        for job_id in [job.id for job in self._jobs.values() if job.expires <= now]:
            del self._jobs[job_id]

    async def close(self) -> None:
        """Cancel all, and forget all."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._jobs.clear()
        tasks = list(self._tasks.values())
        # All before any is waited for: what waits for its turn must not get it now.
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, job: Job, work: Work) -> None:
        try:
            async with self._running:
                job.state = "running"
                job.end("done", answer=await work(job.tell))
        except Problem as problem:
            job.end("failed", problem=problem)
        except InputError as error:
            job.end("failed", problem=Problem(422, shortened(error.faults)))
        except Exception as error:
            full = none_left(error) if isinstance(error, OSError) else None
            job.end("failed", problem=full or self._bug(error))

    @staticmethod
    def _bug(error: Exception) -> Problem:
        # A message may hold content, lines of code do not.
        frames = "".join(traceback.format_tb(error.__traceback__))
        LOG.error("a bug: %s in a job\n%s", type(error).__name__, frames)
        return Problem(500, "a fault of the server")

    def _over(self, job: Job, release: Callable[[], None]) -> None:
        del self._tasks[job.id]
        if not job.is_over:
            job.end("cancelled")
        job.expires = self._clock() + self._config.result_seconds
        release()

    def _make_room(self, owner: str) -> None:
        """Have room for another job, if need be by forgetting results that were read."""
        # Without tokens nobody can be told from others.
        if owner:
            own = [job for job in self._jobs.values() if job.owner == owner]
            own_reserved = sum(place.owner == owner for place in self._reserved)
            most = self._config.max_jobs_of_one - own_reserved
            self._forget_one_of(own, most=most, whose=" of yours")
        most = self._config.max_jobs - len(self._reserved)
        self._forget_one_of(list(self._jobs.values()), most=most, whose="")

    def _forget_one_of(self, jobs: list[Job], *, most: int, whose: str) -> None:
        if len(jobs) < most:
            return
        read = [job for job in jobs if job.was_read]
        if not read:
            fault = f"too many jobs{whose} wait, run or hold a result"
            raise Problem(429, fault, retry_after_seconds=_RETRY_SECONDS)
        del self._jobs[min(read, key=lambda job: job.expires).id]

    def _sweep_later(self) -> None:
        """Look again from time to time while there are jobs, so that results do go."""
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep_again)

    def _sweep_again(self) -> None:
        self._sweeper = None
        self.sweep()
        if self._jobs:
            self._sweep_later()
