"""Steps with declared inputs and outputs: which must run, why, and what becomes of the others.

A step is done when its record names the inputs, settings and code version of now and its outputs
are as the record has them. Records are caches: where one is missing, the step is asked whether its
outputs say the same of themselves (`Step.vouches`), and runs only if they do not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from emoclip_clinical.file_hashes import FileHashes
from emoclip_clinical.records import InputError
from emoclip_clinical.study.provenance import tree_sha256

MOST_REASONS = 6
Verdict = Literal["run", "perhaps", "skip"]
Ending = Literal["done", "partly", "skipped", "failed", "blocked"]


@dataclass(frozen=True)
class Basis:
    """What the outputs of a step follow from.

    Attributes
    ----------
    inputs : mapping of str to str or None
        SHA-256 of each input by its role; None for one that is not there.
    settings : mapping of str to object
        JSON-ready values by dotted key.
    code : str
        Version of the package.
    """

    inputs: Mapping[str, str | None]
    settings: Mapping[str, object]
    code: str


@dataclass(frozen=True)
class Step:
    """One step of a study.

    Attributes
    ----------
    name : str
    reads : tuple of str
        Steps whose outputs it reads.
    basis : callable
        Returns what its outputs follow from at present.
    outputs : mapping of str to Path
        What it writes, by role.
    vouches : callable
        Says whether outputs without a record are just those that it would write.
    run : callable
        Does it; returns whether it is complete, so that nothing has to be tried again.
    """

    name: str
    reads: tuple[str, ...]
    basis: Callable[[], Basis]
    outputs: Mapping[str, Path]
    vouches: Callable[[], bool]
    run: Callable[[], bool]


@dataclass(frozen=True)
class Decision:
    """Whether a step runs, and why; reasons hold no file name and no text of the protocol.

    Attributes
    ----------
    step : str
    verdict : {'run', 'perhaps', 'skip'}
        `perhaps` where it depends on what a step before it will write.
    reasons : tuple of str
        Empty for `skip`.
    """

    step: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepEnd:
    """How a step ended.

    Attributes
    ----------
    step : str
    ending : {'done', 'partly', 'skipped', 'failed', 'blocked'}
        `partly`: done, with some of it to be tried again; `blocked`: a step that it reads failed.
    reasons : tuple of str
        Why it ran, or which steps block it.
    error : Exception or None
        Of a failed step.
    """

    step: str
    ending: Ending
    reasons: tuple[str, ...] = ()
    error: Exception | None = None


Listener = Callable[[StepEnd | Decision], None]


class StepRecords:
    """What is known of finished steps, a JSON file each.

    Parameters
    ----------
    folder : Path
        Made when the first record is written.
    hashes : FileHashes
        For outputs.
    """

    def __init__(self, folder: Path, *, hashes: FileHashes) -> None:
        self._folder = folder
        self._hashes = hashes

    def read(self, name: str) -> tuple[Basis, dict[str, str | None]] | None:
        """Return a step's basis and the hashes of its outputs; None where nothing is known."""
        try:
            raw = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
            basis = Basis(**raw["basis"])
            return basis, dict(raw["outputs"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, step: Step, basis: Basis) -> None:
        """Write that a step is done on this basis."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {"basis": asdict(basis), "outputs": self.outputs(step)}
        path = self._folder / f"{step.name}.json"
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        part.replace(path)

    def forget(self, name: str) -> None:
        """Take a record away, before its step begins to change its outputs."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def outputs(self, step: Step) -> dict[str, str | None]:
        """Return the hash of each output as it is now."""
        return {role: tree_sha256(path, self._hashes) for role, path in step.outputs.items()}


def chosen_steps(
    steps: Sequence[Step], *, first: str | None = None, only: str | None = None
) -> tuple[Step, ...]:
    """Return the steps that `--from` or `--only` leave, in order.

    Raises
    ------
    InputError
        If both are given, or there is no such step.
    """
    if first and only:
        raise InputError("--from and --only can not be given together")
    names = [step.name for step in steps]
    if (named := first or only) is None:
        return tuple(steps)
    if named not in names:
        raise InputError(f"this protocol has the steps {', '.join(names)}, got {named!r}")
    at = names.index(named)
    return tuple(steps[at:]) if first else (steps[at],)


def plan_steps(
    steps: Sequence[Step], *, records: StepRecords, forced: str | None = None
) -> tuple[Decision, ...]:
    """Say which steps would run, and why, without running any."""
    made: dict[str, Decision] = {}
    for step in steps:
        ahead = [n for n in step.reads if n in made and made[n].verdict != "skip"]
        if step.name == forced:
            decision = Decision(step.name, "run", ("it was asked for",))
        elif ahead:
            missing = _missing(step)
            why = (*missing, f"it reads what {' and '.join(ahead)} will write")
            decision = Decision(step.name, "run" if missing else "perhaps", why)
        else:
            decision = decide(step, records=records)[0]
        made[step.name] = decision
    return tuple(made.values())


def run_steps(
    steps: Sequence[Step],
    *,
    records: StepRecords,
    forced: str | None = None,
    listen: Listener = lambda _: None,
) -> tuple[StepEnd, ...]:
    """Run the steps that must run, in order; a failure stops only those that read its outputs.

    Parameters
    ----------
    steps : sequence of Step
        Each after those that it reads.
    records : StepRecords
    forced : str, optional
        A step that runs even if nothing has changed.
    listen : callable
        Told each decision to run, before, and each end, after.

    Returns
    -------
    tuple of StepEnd
        One a step. An interruption (KeyboardInterrupt) is passed on at once.
    """
    ends: dict[str, StepEnd] = {}
    for step in steps:
        stuck = [n for n in step.reads if n in ends and ends[n].ending in ("failed", "blocked")]
        if stuck:
            end = StepEnd(step.name, "blocked", tuple(f"{n} did not succeed" for n in stuck))
        else:
            try:
                end = _run_one(step, records=records, forced=step.name == forced, listen=listen)
            except Exception as error:
                end = StepEnd(step.name, "failed", error=error)
        ends[step.name] = end
        listen(end)
    return tuple(ends.values())


def decide(step: Step, *, records: StepRecords) -> tuple[Decision, Basis]:
    """Say whether a step whose inputs are all there must run."""
    basis = step.basis()
    if missing := _missing(step):
        return Decision(step.name, "run", missing), basis
    known = records.read(step.name)
    if known is None:
        reasons: tuple[str, ...] = ("there is no record of an earlier run",)
    else:
        reasons = changes(known[0], basis) or _rewritten(known[1], records.outputs(step))
    # Its own command may have made the outputs anew since.
    if reasons and step.vouches():
        records.remember(step, basis)
        reasons = ()
    return Decision(step.name, "run" if reasons else "skip", limited(reasons)), basis


def changes(then: Basis, now: Basis) -> tuple[str, ...]:
    """Return in words what differs between two bases; empty where nothing does."""
    found = [
        f"input {role} {_what_happened(then.inputs.get(role), now.inputs.get(role))}"
        for role in sorted({*then.inputs, *now.inputs})
        if then.inputs.get(role) != now.inputs.get(role)
    ]
    found += [
        f"setting {key}{_values(then.settings.get(key), now.settings.get(key))}"
        for key in sorted({*then.settings, *now.settings})
        if then.settings.get(key) != now.settings.get(key)
    ]
    if then.code != now.code:
        found.append(f"version of emoclip-clinical: {then.code} \N{RIGHTWARDS ARROW} {now.code}")
    return limited(found)


def flat(settings: Mapping[str, object], prefix: str) -> dict[str, object]:
    """Return nested settings by dotted keys; lists stay values."""
    out: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            out |= flat(value, f"{prefix}.{key}")
        else:
            out[f"{prefix}.{key}"] = value
    return out


def limited(reasons: Iterable[str]) -> tuple[str, ...]:
    """Return the first reasons, and how many more there are."""
    listed = tuple(reasons)
    if len(listed) <= MOST_REASONS:
        return listed
    return (*listed[:MOST_REASONS], f"and {len(listed) - MOST_REASONS} more")


def _run_one(step: Step, *, records: StepRecords, forced: bool, listen: Listener) -> StepEnd:
    decision, basis = (
        (Decision(step.name, "run", ("it was asked for",)), step.basis())
        if forced
        else decide(step, records=records)
    )
    if decision.verdict == "skip":
        return StepEnd(step.name, "skipped")
    listen(decision)
    records.forget(step.name)
    if not step.run():
        return StepEnd(step.name, "partly", decision.reasons)
    records.remember(step, basis)
    return StepEnd(step.name, "done", decision.reasons)


def _missing(step: Step) -> tuple[str, ...]:
    roles = [role for role, path in step.outputs.items() if not path.exists()]
    if len(roles) == len(step.outputs):
        return ("none of its outputs is there",)
    return limited(f"output {role} is missing" for role in roles)


def _rewritten(then: Mapping[str, str | None], now: Mapping[str, str | None]) -> tuple[str, ...]:
    return tuple(
        f"output {role} is not as it was written" for role in now if now[role] != then.get(role)
    )


def _what_happened(then: str | None, now: str | None) -> str:
    if then is None:
        return "is new"
    return "is gone" if now is None else "changed"


def _values(then: object, now: object) -> str:
    """Show numbers and switches; text may be a path or a name."""
    if all(value is None or isinstance(value, bool | int | float) for value in (then, now)):
        return f": {json.dumps(then)} \N{RIGHTWARDS ARROW} {json.dumps(now)}"
    return " changed"
