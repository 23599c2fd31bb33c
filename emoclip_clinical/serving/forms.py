"""Forms (RFC 7578) with one file and a few small parts, read as they come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.sealed_files import SealedFile

FORM = "multipart/form-data"
FileKind = Literal["video", "frames"]

_LONGEST_BOUNDARY = 70  # RFC 2046, section 5.1.1
_MOST_HEADERS = 8
_MOST_HEADER_BYTES = 4096


class Form:
    """Takes a form's bytes, and keeps its file and its fields.

    Parameters
    ----------
    content_type : str
        The header, with the boundary.
    files : mapping of FileKind to int
        Names of parts that are files, of which there must be one, with their largest sizes.
    fields : mapping of str to int
        Names of small parts, each at most once, with their largest sizes.
    found : callable
        Called with a file's name before its content comes; what it raises ends the form.

    Attributes
    ----------
    unwritten : bytearray
        What waits for `flush`.

    Raises
    ------
    Problem
        400 if the boundary is missing or too long.
    """

    def __init__(
        self,
        content_type: str,
        *,
        files: Mapping[FileKind, int],
        fields: Mapping[str, int],
        found: Callable[[FileKind], None],
    ) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not 1 <= len(boundary) <= _LONGEST_BOUNDARY:
            raise Problem(400, f"{FORM} needs a boundary of at most {_LONGEST_BOUNDARY} letters")
        self._files = {str(name): size for name, size in files.items()}
        self._field_sizes = fields
        self._tell = found
        self._kinds: Mapping[str, FileKind] = {name: name for name in files}
        self.unwritten = bytearray()
        self._file = SealedFile()
        self._kind: FileKind | None = None
        self._fields: dict[str, bytearray] = {}
        self._part: str | None = None
        self._n_bytes = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._name,
                "on_header_value": self._value,
                "on_header_end": self._header,
                "on_headers_finished": self._found,
                "on_part_data": self._data,
                "on_end": self._end,
            },
            max_header_count=_MOST_HEADERS,
            max_header_size=_MOST_HEADER_BYTES,
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises
        ------
        Problem
            400 for what is no form, 413 for a part that is too large, 422 for one that has no
            business here.
        """
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Problem(400, f"the body is not sound {FORM}") from None

    def flush(self) -> None:
        """Write what has come of the file."""
        self._file.write(self.unwritten)
        self.unwritten.clear()

    def finish(self) -> tuple[FileKind, SealedFile, Mapping[str, bytes]]:
        """Return the file's name as a part, the file, and the fields.

        Raises
        ------
        Problem
            400 where the form does not end; 422 where it has no file.
        """
        if not self._ended:
            raise Problem(400, f"the body is not sound {FORM}: it ends too early")
        if self._kind is None:
            raise Problem(422, f"the form must have a part {self._wanted()}")
        return self._kind, self._file, {name: bytes(f) for name, f in self._fields.items()}

    def close(self) -> None:
        """Give up the file."""
        self._file.close()

    def _wanted(self) -> str:
        return " or ".join(sorted(self._files))

    # What the parser calls.

    def _begin(self) -> None:
        self._headers, self._part, self._n_bytes = {}, None, 0

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _found(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", errors="replace")
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if kind != b"form-data" or encoding not in (b"binary", b"8bit", b"7bit"):
            raise Problem(400, "a part of the form has no Content-Disposition, or is encoded")
        if name in self._files:
            if self._kind is not None:
                raise Problem(422, f"the form may have one part {self._wanted()}")
            self._kind = self._kinds[name]
            self._tell(self._kind)
        elif name in self._field_sizes:
            if name in self._fields:
                raise Problem(422, f"the form may have one part {name}")
            self._fields[name] = bytearray()
        else:
            known = [*sorted(self._files), *sorted(self._field_sizes)]
            raise Problem(422, f"a part of the form has an unknown name: there are {known}")
        self._part = name

    def _data(self, data: bytes, start: int, end: int) -> None:
        name = self._part
        if name is None:
            raise Problem(400, f"the body is not sound {FORM}")
        self._n_bytes += end - start
        most = self._files.get(name, 0) or self._field_sizes[name]
        if self._n_bytes > most:
            raise Problem(413, f"the part {name} may have at most {most} bytes")
        target = self.unwritten if name in self._files else self._fields[name]
        target += data[start:end]

    def _end(self) -> None:
        self._ended = True
