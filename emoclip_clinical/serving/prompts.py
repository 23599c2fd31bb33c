"""The prompt sets that a server knows by name, each encoded when it is first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from emoclip_clinical.features.scores import PromptVectors
from emoclip_clinical.records import InputError, PromptSet
from emoclip_clinical.serving.encoding import ServedModel
from emoclip_clinical.serving.problems import Problem


class LoadedPrompts:
    """Prompt sets by name.

    Parameters
    ----------
    model : ServedModel
        Encodes them.
    own : sequence of PromptSet
        Those that videos are scored with where a request names none.
    others : sequence of PromptSet
        Those that a request may name besides; one with the name of an own set is left out.

    Attributes
    ----------
    sets : mapping of str to PromptSet
        By name, the own ones first.
    own : tuple of str
        Names of the own sets.

    Raises
    ------
    InputError
        If two own sets have one name, or a set has the name of another's compounds.
    """

    def __init__(
        self, model: ServedModel, *, own: Sequence[PromptSet], others: Sequence[PromptSet] = ()
    ) -> None:
        names = [name for prompts in own for name in _table_names(prompts)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(
                f"two prompt sets are called {name!r}: give one another name" for name in repeated
            )
        self._model = model
        self.own = tuple(prompts.name for prompts in own)
        by_name = {prompts.name: prompts for prompts in [*others, *own]}
        first = {name: by_name[name] for name in self.own}
        self.sets: Mapping[str, PromptSet] = MappingProxyType(first | by_name)
        self._vectors: dict[str, tuple[PromptVectors, ...]] = {}
        self._encoding = asyncio.Lock()

    async def vectors(self, name: str) -> tuple[PromptVectors, ...]:
        """Return the vectors of a set's classes, then of its compounds where it has any.

        Raises
        ------
        Problem
            404 where there is no such set, with the names that there are; else as
            `ServedModel.encode_loaded_prompts`.
        """
        if name not in self.sets:
            raise Problem(404, f"there is no such prompt set; there are {', '.join(self.sets)}")
        # The same texts are not encoded for two requests at once.
        async with self._encoding:
            if name not in self._vectors:
                self._vectors[name] = await self._model.encode_loaded_prompts(self.sets[name])
        return self._vectors[name]

    async def own_vectors(self) -> tuple[PromptVectors, ...]:
        """Return the vectors of the own sets, in their order; see `vectors`."""
        return tuple([entry for name in self.own for entry in await self.vectors(name)])


def _table_names(prompts: PromptSet) -> tuple[str, ...]:
    compounds = (f"{prompts.name}_compounds",) if prompts.compounds else ()
    return (prompts.name, *compounds)
