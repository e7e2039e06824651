"""Compression of responses: for which media types and clients, by which codings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from gproxy.config.types import Bytes
from gproxy.handlers.steps.compress import CompressStep
from gproxy.http.codings import Coding, coding
from gproxy.http.handler import Handler
from gproxy.http.header_names import TOKEN_CHAR
from gproxy.http.negotiate import preferred_coding
from gproxy.runtime import Runtime

#: The lists of Envoy and Caddy, without images other than SVG: formats like PNG and WOFF2 are compressed already.
TYPES: Final = (
    "text/*", "*/*+json", "*/*+xml", "application/json", "application/javascript", "application/ecmascript",
    "application/x-javascript", "application/xml", "application/xml-dtd", "application/wasm", "application/yaml",
    "application/x-yaml", "application/toml", "application/x-ndjson", "application/jsonlines", "application/graphql",
    "application/x-protobuf", "application/vnd.ms-fontobject", "font/ttf", "font/otf",
)  # fmt: skip
#: Never compressed, even if listed: event streams, multipart bodies, and types with a compression of their own.
_NEVER: Final = re.compile(r"text/event-stream|multipart/.*|application/grpc.*").fullmatch

_is_pattern = re.compile(rf"(?:{TOKEN_CHAR}|\*)+/(?:{TOKEN_CHAR}|\*)+").fullmatch


@dataclass
class Compress:
    """Compression of responses, errors included, of the listed types for clients that accept a coding.

    Of several codings the handler chooses the one with the client's largest weight, else the first of `codings`.
    """

    min_size: Bytes = field(
        default=Bytes(512), metadata={"doc": "minimum size of a body to compress, if its size is known"}
    )
    types: tuple[str, ...] = field(default=TYPES, metadata={"doc": "media types to compress; * matches any characters"})
    level: int = field(
        default=2, metadata={"doc": "compression level: 0 (fastest) to 3 (smallest); 2 is about as small as zlib's 6"}
    )
    codings: tuple[str, ...] = field(
        default=("gzip",),
        metadata={"doc": "codings to offer, in order of preference; br and zstd need gproxy[br,zstd]"},
    )

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError with a line for each problem."""
        if problems := [*self._problems()]:
            raise ValueError("\n".join(problems))
        self._codings = {name: coding(name, self.level) for name in self.codings}
        fits = "|".join(re.escape(pattern.lower()).replace(r"\*", ".*") for pattern in self.types)
        self._fits = re.compile(fits).fullmatch
        # A few values make up nearly all traffic.
        is_listed, choose = lru_cache(512)(self._listed), lru_cache(256)(self._choose)
        self._step = CompressStep(self.codings, self.min_size, is_listed, choose)

    def _problems(self) -> Iterator[str]:
        for pattern in self.types:
            if not _is_pattern(pattern):
                yield f"types: {pattern!r} is not a media type; expected text/* or application/json"
        if not 0 <= self.level <= 3:
            yield f"level: expected 0 to 3, not {self.level}"
        if not self.codings:
            yield "codings: is empty; expected one coding or more, such as gzip"
        for name in self.codings:
            try:
                coding(name, 0)
            except ValueError as error:
                yield str(error)

    def open(self, runtime: Runtime) -> None:
        self._step.offload = runtime.offload

    @property
    def __call__(self) -> Handler:
        """The step, which the chain calls in place of the handler."""
        return self._step

    def _choose(self, accepted: str | None) -> Coding | None:
        name = preferred_coding(accepted, self.codings)
        return None if name is None else self._codings[name]

    def _listed(self, content_type: str) -> bool:
        media_type = content_type.partition(";")[0].strip(" \t").lower()
        return self._fits(media_type) is not None and not _NEVER(media_type)
