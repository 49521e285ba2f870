"""Load a model and its tokenizer: the embedded one, a GGUF file, a folder, or one of the Hub."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import torch
import transformers
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from stopping_core.embedded import MODEL, weights_path
from stopping_core.errors import MissingPackage

CACHE_VARIABLE = "STOPPING_CACHE"
"""Environment variable that names the folder for converted weights."""

_CONVERTED = re.compile(r"(?P<stem>.+)-\d+-[0-9a-f]{16}-transformers-.+")
"""The name of a folder that :func:`converted` made."""

Loaded: TypeAlias = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Loaded:
    """Load a causal language model, ready for generation, and its tokenizer.

    transformers cannot compute with GGUF weights as they are. They are de-quantised once, which
    takes about half a minute for 100 MB, and kept as a folder four to six times as large; later
    calls load that folder in seconds. The folder is made aside and renamed when it is whole, so
    that neither a crash nor a second process leaves half of one.

    The tokenizer pads on the left, as generation in batches needs it.

    Args:
        name_or_path: None for the embedded SmolLM2-135M-Instruct; else a folder, a ``.gguf`` file,
            or the name of a model on the Hub, which transformers downloads and caches itself.
        dtype: Of the weights in memory. Those in the cache are float32.
        cache_dir: Folder for converted weights. None takes the environment's ``STOPPING_CACHE``,
            or else a folder in the user's own cache.
        progress: Whether transformers shows its bars meanwhile, where it is not told otherwise.

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        ValueError: ``name_or_path`` looks like a path and there is nothing, or no GGUF file; or
            the files there are damaged.
        OSError: There is no model of that name, or the Hub cannot be reached.
        MissingPackage: The embedded weights are not installed.
    """
    if not progress and logging.is_progress_bar_enabled():
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' own
        try:
            return load(name_or_path, dtype=dtype, cache_dir=cache_dir)
        finally:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # likewise
    folder: str | Path
    if name_or_path is None:
        folder = converted(weights_path(), cache_folder(cache_dir))
    else:
        path = Path(name_or_path).expanduser()
        if path.is_file():
            if path.suffix.lower() != ".gguf":
                raise ValueError(f"name_or_path must be a folder or a .gguf file, got {path}")
            with _named(path):
                folder = converted(path, cache_folder(cache_dir))
        elif path.is_dir():
            folder = path
        elif not isinstance(name_or_path, str) or _looks_like_path(name_or_path):
            raise ValueError(f"name_or_path must exist, got {name_or_path}")
        else:
            folder = name_or_path
    local = isinstance(folder, Path)
    try:
        if not local:
            _reach(str(folder))
        with _named(name_or_path):
            model = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=local, dtype=dtype
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=local)
    except OSError as error:
        raise OSError(
            "name_or_path must be a folder with a model, a .gguf file, or a model that the Hub "
            f"has and that can be downloaded now, got {name_or_path}: {error}"
        ) from error
    tokenizer.padding_side = "left"
    return model, tokenizer


def _reach(name: str) -> None:
    """Ask the Hub once for a model that is not in its cache: transformers asks six times a file.

    Raises:
        OSError: There is no such model, or the Hub cannot be reached.
    """
    try:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            get_hf_file_metadata(hf_hub_url(name, "config.json"))
    except EntryNotFoundError:
        return  # an adapter has a file of another name
    except Exception as error:  # of whichever HTTP library the Hub's client is made with
        said = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise OSError(f"{type(error).__name__}: {said}") from error


@contextlib.contextmanager
def _named(source: object) -> Iterator[None]:
    """Say whose files they are that cannot be read.

    Readers of weights, vocabularies and settings raise what they like, ``Exception`` itself too.
    """
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:
        said = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise ValueError(
            f"{source}: cannot be loaded as a model: {type(error).__name__}: {said}"
        ) from error


def _looks_like_path(name: str) -> bool:
    """Whether a name cannot be meant for the Hub, whose names are ``model`` or ``owner/model``."""
    return (
        name.startswith((".", "~"))
        or name.lower().endswith(".gguf")
        or Path(name).is_absolute()
        or "\\" in name
        or name.count("/") > 1
    )


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """The folder for converted weights, as asked for or as the platform has it."""
    if chosen := (cache_dir or os.environ.get(CACHE_VARIABLE)):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "stopping"


def converted(file: Path, cache: Path) -> Path:
    """The folder with the file's weights de-quantised, made now if it is not there."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    name = f"{file.stem}-{file.stat().st_size}-{digest}-transformers-{transformers.__version__}"
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=cache) as temporary:
        made = Path(temporary) / name
        _convert(file, made)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster: its folder is as good
                raise
            shutil.rmtree(made, ignore_errors=True)
    return folder


def model_name(model: PreTrainedModel) -> str:
    """The name that recordings know a model by: the folder's or the file's own, or the Hub's.

    ``""`` where it was made in memory.
    """
    name = str(model.config.name_or_path or "")
    path = Path(name)
    if not name or not path.is_dir():
        return name
    made = _CONVERTED.fullmatch(path.resolve().name)
    if made is None:
        return path.resolve().name
    with contextlib.suppress(MissingPackage):
        return MODEL if made["stem"] == weights_path().stem else made["stem"]
    return made["stem"]


def _convert(file: Path, folder: Path) -> None:
    """De-quantise a GGUF file into a folder of its own, tokenizer included."""
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        # Without it the weights count as quantised, and cannot be saved.
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
