"""Interviews on disk: each written whole or not at all, then merged into three tables.

A part is a folder ``parts/<interview>/`` with its rows and ``part.json``, which holds the hash of
everything that decided its content (settings, model, prompts, the video's bytes). A part is
finished when it has its final name; whatever else lies in ``parts/`` is left over from a process
that was stopped, and is removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emoclip_clinical.features.layout import InterviewSummary, interviews_table
from emoclip_clinical.features.locks import folder_lock
from emoclip_clinical.features.reading_results import InterviewReading
from emoclip_clinical.features.shards import Shard
from emoclip_clinical.features.writing import replacing, sync_file, sync_folder, writing_to
from emoclip_clinical.file_hashes import file_sha256
from emoclip_clinical.records import InputError, InterviewKey

_UNFINISHED = ".unfinished-"
_OLD = "old-"
PART_TABLES = ("segments.parquet", "embeddings.parquet")


@dataclass(frozen=True)
class PartCard:
    """What ``part.json`` holds.

    Attributes
    ----------
    key : InterviewKey
        Which interview.
    settings_hash : str
        Of everything that is the same for all interviews of a run.
    source : mapping
        ``bytes``, ``sha256``, ``start_seconds``, ``stop_seconds`` of the video.
    summary : InterviewSummary
        The interview's quality columns.
    read_again : bool
        Whether the next run reads it again: it failed, its decoder hung, or its file changed
        while it was read.
    versions : mapping of str to str
        Of the packages that it was made with.
    """

    key: InterviewKey
    settings_hash: str
    source: Mapping[str, object]
    summary: InterviewSummary
    read_again: bool
    versions: Mapping[str, str]


class PartStore:
    """The folder that extraction writes.

    Parameters
    ----------
    folder : Path
        Made when the first part is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / "parts"

    @contextmanager
    def locked(self, *, shard: Shard | None = None) -> Iterator[None]:
        """Keep every other process from writing here; the lock dies with this process.

        Parameters
        ----------
        shard : Shard, optional
            Lets the other shards of the same array write at the same time.

        Raises
        ------
        InputError
            If another process is writing, or the folder can not be written.
        """
        with ExitStack() as stack:
            try:
                self.parts.mkdir(parents=True, exist_ok=True)
                stack.enter_context(folder_lock(self.folder, shard=shard))
            except OSError as error:
                raise InputError(f"can not write to {self.folder}: {error.strerror}") from None
            if shard is None:
                self.clear_unfinished()
            yield

    def clear_unfinished(self, names: Sequence[str] | None = None) -> None:
        """Remove what a process that was stopped left behind.

        Parameters
        ----------
        names : sequence of str, optional
            Only of these interviews; others may be being written by other shards.
        """
        for entry in self.parts.iterdir():
            left = entry.name.removeprefix(_UNFINISHED).removeprefix(_OLD)
            if entry.name.startswith(_UNFINISHED) and (names is None or left in names):
                shutil.rmtree(entry)

    def read_card(self, key: InterviewKey) -> PartCard | None:
        """Return the card of a finished part; None where there is none that can be read."""
        folder = self.parts / key.name
        if not all((folder / name).is_file() for name in PART_TABLES):
            return None
        try:
            raw = json.loads((folder / "part.json").read_text(encoding="utf-8"))
            # Parts of before held no hashes.
            if "tables" in raw and raw["tables"] != _hashes(folder):
                return None
            return PartCard(
                key=InterviewKey(**raw["key"]),
                settings_hash=raw["settings_hash"],
                source=raw["source"],
                summary=InterviewSummary(**raw["summary"]),
                read_again=bool(raw["read_again"]),
                versions=dict(raw.get("versions", {})),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # A part that was changed or damaged is made again, as if it were not there.
            return None

    def cards(self) -> tuple[PartCard, ...]:
        """Return the cards of all finished parts, sorted by key."""
        names = [entry.name for entry in self.parts.iterdir() if entry.is_dir()]
        found = [self._card_of(name) for name in names if not name.startswith(".")]
        return tuple(sorted((card for card in found if card), key=lambda card: card.key))

    def table(self, key: InterviewKey, name: str, *, schema: pa.Schema | None = None) -> pa.Table:
        """Return one of the two tables of a finished part.

        Raises
        ------
        InputError
            If it is damaged, which is known beforehand of parts that hold the tables' hashes.
        """
        try:
            return pq.read_table(self.parts / key.name / name, schema=schema)
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from these two
            fault = f"{key.name}: what was extracted of it is damaged ({name} in parts/)"
            raise InputError(f"{fault}; extract it again with --overwrite") from error

    def write(self, card: PartCard, reading: InterviewReading) -> None:
        """Write one part so that it is there whole, or not at all, after any interruption.

        Raises
        ------
        InputError
            If the disk is full, or the folder may not be written.
        """
        final = self.parts / card.key.name
        unfinished = self.parts / f"{_UNFINISHED}{card.key.name}"
        with writing_to(self.folder):
            try:
                unfinished.mkdir()
                _write_table(reading.segments, unfinished / "segments.parquet")
                _write_table(reading.embeddings, unfinished / "embeddings.parquet")
                content = {**asdict(card), "tables": _hashes(unfinished)}
                _write_text(_json(content), unfinished / "part.json")
                sync_folder(unfinished)
            except OSError:
                # A full disk has its room again.
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            if final.exists():
                # Not one step; when interrupted in between, the part is missing and made again.
                final.rename(self.parts / f"{_UNFINISHED}{_OLD}{card.key.name}")
            unfinished.rename(final)
            sync_folder(self.parts)
        shutil.rmtree(self.parts / f"{_UNFINISHED}{_OLD}{card.key.name}", ignore_errors=True)

    def merge(
        self,
        cards: Sequence[PartCard],
        *,
        segments_schema: pa.Schema,
        embeddings_schema: pa.Schema,
        pooled_names: Sequence[str],
        pooled: Sequence[Mapping[str, float | None]],
        description: Mapping[str, object],
    ) -> None:
        """Write the three tables and features.json from finished parts.

        Parameters
        ----------
        cards : sequence of PartCard
            Parts made with the same settings, sorted by key.
        segments_schema, embeddings_schema : pyarrow.Schema
            Of the parts' tables.
        pooled_names : sequence of str
            Columns of pooled features.
        pooled : sequence of mapping
            Their values, one mapping a card.
        description : mapping
            Content of features.json.

        Raises
        ------
        InputError
            If the disk is full, or the folder may not be written; the tables of before are there.
        """
        names = ("segments.parquet", "embeddings.parquet", "interviews.parquet", "features.json")
        with writing_to(self.folder), replacing(self.folder, names) as targets:
            segments, embeddings, interviews, settings = targets
            self._join(cards, "segments.parquet", schema=segments_schema, target=segments)
            self._join(cards, "embeddings.parquet", schema=embeddings_schema, target=embeddings)
            rows = [(c.key, c.summary, values) for c, values in zip(cards, pooled, strict=True)]
            whole = interviews_table(rows, pooled_names=pooled_names)
            pq.write_table(whole, interviews, compression="zstd")
            settings.write_text(_json(description), encoding="utf-8")

    def _join(
        self, cards: Sequence[PartCard], name: str, *, schema: pa.Schema, target: Path
    ) -> None:
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for card in cards:
                # One part at a time keeps memory flat over a cohort.
                writer.write_table(self.table(card.key, name, schema=schema))

    def _card_of(self, name: str) -> PartCard | None:
        pieces = dict(piece.split("-", 1) for piece in name.split("_") if "-" in piece)
        if "sub" not in pieces:
            return None
        key = InterviewKey(
            participant_id=f"sub-{pieces['sub']}",
            session_id=f"ses-{pieces['ses']}" if "ses" in pieces else "",
            run=int(pieces["run"]) if pieces.get("run", "").isdecimal() else 0,
        )
        return self.read_card(key) if key.name == name else None


def _hashes(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in PART_TABLES}


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")
    sync_file(path)


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
    sync_file(path)
