"""Write a prompt set as YAML."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from emoclip_clinical.records import PromptSet


def write_prompts(prompts: PromptSet, *, path: Path) -> None:
    """Write a prompt set in the format that extraction reads.

    Parameters
    ----------
    prompts : PromptSet
    path : Path
        A YAML file to make or replace; keys ``name, language, author, date, classes,
        compounds``.
    """
    content = {
        "name": prompts.name,
        "language": prompts.language,
        "author": prompts.author,
        "date": prompts.date,
        "classes": {name: list(sentences) for name, sentences in prompts.classes.items()},
        "compounds": {name: list(parts) for name, parts in prompts.compounds.items()},
    }
    yaml = YAML()
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(content, file)
