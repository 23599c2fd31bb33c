"""The server's Python client: needs no torch, no weights and no video decoder.

Examples
--------
>>> from emoclip_clinical.client import Client
>>> with Client("http://127.0.0.1:8765") as client:  # doctest: +SKIP
...     vectors = client.encode_text(["a smile"])
"""

from __future__ import annotations

from emoclip_clinical.client.client import Client
from emoclip_clinical.client.connection import ClientConfig
from emoclip_clinical.client.errors import ServerError
from emoclip_clinical.client.results import (
    Estimates,
    EstimatorFacts,
    ModelFacts,
    Models,
    PromptSetFacts,
)

__all__ = [
    "Client",
    "ClientConfig",
    "Estimates",
    "EstimatorFacts",
    "ModelFacts",
    "Models",
    "PromptSetFacts",
    "ServerError",
]
