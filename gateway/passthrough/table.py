"""Which endpoints are passed through, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """One endpoint.

    path: its template; what follows /v1 is asked of the provider. has_body: JSON or a multipart form is read.
    default_model: for a request that names none; None: it must, unless `keeps` says that it has no model at all.
    keeps: the provider keeps what this makes or reads, under an id: "file" or "batch". costs: the provider charges for
    it. bounded: by the tokens of its body alone, so that what it may cost is known before.
    """

    path: str
    method: str = "POST"
    has_body: bool = True
    default_model: str | None = None
    keeps: str = ""
    costs: bool = True
    bounded: bool = False

    @property
    def name(self) -> str:
        """For the ledger and metrics, where there is no model: "files", "batches"."""
        return self.path.split("/")[2]


_FILE, _BATCH = "/v1/files/{id}", "/v1/batches/{id}"
PASSAGES = (
    Passage("/v1/images/generations"),
    Passage("/v1/images/edits"),
    Passage("/v1/audio/speech"),
    Passage("/v1/audio/transcriptions"),
    Passage("/v1/audio/translations"),
    Passage("/v1/rerank", bounded=True),
    Passage("/v1/moderations", default_model="omni-moderation-latest", bounded=True),
    Passage("/v1/files", keeps="file", costs=False),
    Passage("/v1/files", "GET", has_body=False, keeps="file", costs=False),
    Passage(_FILE, "GET", has_body=False, keeps="file", costs=False),
    Passage(_FILE, "DELETE", has_body=False, keeps="file", costs=False),
    Passage(f"{_FILE}/content", "GET", has_body=False, keeps="file", costs=False),
    Passage("/v1/batches", keeps="batch"),
    Passage("/v1/batches", "GET", has_body=False, keeps="batch", costs=False),
    Passage(_BATCH, "GET", has_body=False, keeps="batch", costs=False),
    Passage(f"{_BATCH}/cancel", has_body=False, keeps="batch", costs=False),
)
