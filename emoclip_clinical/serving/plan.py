"""What a server is started with, checked before anything is loaded."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.records import InputError, PromptSet
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.tokens import Tokens, read_tokens


@dataclass(frozen=True)
class Address:
    """Where a server listens, and who may ask there.

    Attributes
    ----------
    host : str
        A name or an address of this machine.
    port : int
        0: any that is free.
    token_file : Path or None
        Tokens, one a line; a host other than loopback needs them.
    certificate_file, key_file : Path or None
        PEM files, both or neither: the server speaks TLS.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_encrypted(self) -> bool:
        """Whether the server speaks TLS."""
        return self.certificate_file is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever starts the server should know."""
        if self.is_loopback or self.is_encrypted:
            return ()
        return (
            f"{self.host} is reached from other machines and what is sent is not encrypted: use "
            "--tls-certificate and --tls-key, or a proxy that speaks TLS",
        )


@dataclass(frozen=True)
class ServerPlan:
    """Everything that a server is started with.

    Attributes
    ----------
    address : Address
        Where.
    model_folder : Path
        The model.
    estimators : tuple of Path
        Folders that `regress` wrote.
    extraction : ExtractionConfig
        How videos are read where a request says nothing else; paths are absolute.
    own_prompts, other_prompts : tuple of PromptSet
        Those that videos are scored with, and those that a request may name besides.
    config : ServingConfig
        Limits.
    device : str
        See `load_model`.
    precision : str
        As for `load_model`, or ``auto``: what the extraction settings name, else what the
        estimators' features were made with, else ``float32``.
    """

    address: Address
    model_folder: Path
    estimators: tuple[Path, ...]
    extraction: ExtractionConfig
    own_prompts: tuple[PromptSet, ...]
    other_prompts: tuple[PromptSet, ...]
    config: ServingConfig
    device: str = "auto"
    precision: str = "auto"


def checked_tokens(address: Address) -> Tokens | None:
    """Return the tokens of an address, None where there are none and none are needed.

    Raises
    ------
    InputError
        Listing what is wrong with the address's files, and a host that needs tokens.
    """
    faults: list[str] = []
    tokens = None
    if address.token_file is not None:
        try:
            tokens = read_tokens(address.token_file)
        except InputError as error:
            faults.extend(error.faults)
    elif not address.is_loopback:
        faults.append(
            f"host {address.host} is reached from other machines and needs --token-file, a file "
            "with a token a line; without one the server listens on 127.0.0.1 alone"
        )
    faults.extend(_tls_faults(address))
    if faults:
        raise InputError(faults)
    return tokens


def listening_socket(address: Address) -> socket.socket:
    """Return a socket that listens at an address.

    Raises
    ------
    InputError
        If the host is none of this machine's, or the port is in use.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"host {address.host} can not be used: {error.strerror}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
        found.listen()
    except OSError as error:
        found.close()
        raise InputError(
            f"port {address.port} of {address.host} can not be used: {error.strerror}"
        ) from None
    return found


def _tls_faults(address: Address) -> list[str]:
    certificate, key = address.certificate_file, address.key_file
    if certificate is None and key is None:
        return []
    if certificate is None or key is None:
        return ["--tls-certificate and --tls-key are wanted together"]
    missing = [path for path in (certificate, key) if not path.is_file()]
    if missing:
        return [f"no such file: {path}" for path in missing]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        return [f"certificate {certificate} and key {key} can not be used: {error}"]
    return []
