"""Loading: folders, GGUF files, names; the cache is whole or not there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import constants

from stopping_core.embedded import weights_path
from transformers_stopping import load, loading


def test_a_folder_loads_in_the_type_asked_for(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """The tokenizer is made to pad on the left."""
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found, its = load(tmp_path, dtype=torch.bfloat16)
    assert (torch.bfloat16, "left") == (found.dtype, its.padding_side)
    assert not found.training


@pytest.mark.parametrize("name", ["./nothing", "/nothing/here", "a/b/c", "weights.gguf", "~/x"])
def test_a_wrong_path_is_named(name: str) -> None:
    """Without asking the Hub."""
    with pytest.raises(ValueError, match="name_or_path must exist, got " + name):
        load(name)


def test_a_file_that_is_no_gguf_is_named(tmp_path: Path) -> None:
    """Only GGUF files are read."""
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ValueError, match=r"a folder or a \.gguf file, got .*weights\.bin"):
        load(tmp_path / "weights.bin")
    with pytest.raises(ValueError, match=f"^{tmp_path}: cannot be loaded as a model: "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"cut short"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"junk"),
        ("config.json", b"{}"),
        ("config.json", b'{"model_type": "llama", "hidden_size": "x"}'),
        ("tokenizer_config.json", b"[]"),
    ],
)
def test_a_damaged_folder_is_named(
    model: Any, tokenizer: Any, tmp_path: Path, name: str, content: bytes
) -> None:
    """In one line, whatever its reader raises."""
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    load(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{tmp_path}: cannot be loaded as a model: [^\n]+\Z"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGUF junk", b"GGUF" + bytes(4000)])
def test_a_damaged_gguf_file_is_named(tmp_path: Path, content: bytes) -> None:
    """And nothing is left in the cache."""
    file, cache = tmp_path / "weights.gguf", tmp_path / "cache"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{file}: cannot be loaded as a model: [^\n]+\Z"):
        load(file, cache_dir=cache)
    assert list(cache.iterdir()) == []


def test_an_unknown_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, whatever is not in the Hub's own cache is unknown."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="that can be downloaded now, got no-such-owner/no-model"):
        load("no-such-owner/no-model")


def test_a_conversion_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash leaves nothing, a success is found again, a second process changes nothing."""
    file, cache = tmp_path / "tiny.gguf", tmp_path / "cache"
    file.write_bytes(b"weights")
    made: list[Path] = []

    def convert(source: Path, folder: Path) -> None:
        folder.mkdir()
        made.append(folder)
        (folder / "half").touch()
        if len(made) == 1:
            raise RuntimeError("power cut")

    monkeypatch.setattr(loading, "_convert", convert)
    with pytest.raises(RuntimeError, match="power cut"):
        loading.converted(file, cache)
    assert [] == list(cache.iterdir())
    folder = loading.converted(file, cache)
    assert folder == loading.converted(file, cache)
    assert ([folder], 2) == (list(cache.iterdir()), len(made))
    assert transformers.__version__ in folder.name
    file.write_bytes(b"weighty")
    assert folder != loading.converted(file, cache)

    def overtaken(source: Path, folder: Path) -> None:
        convert(source, folder)
        other = cache / folder.name
        other.mkdir()
        (other / "whole").touch()

    monkeypatch.setattr(loading, "_convert", overtaken)
    file.write_bytes(b"others!")
    assert ["whole"] == [found.name for found in loading.converted(file, cache).iterdir()]


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument goes before the environment, which goes before the platform's folder."""
    monkeypatch.setenv("STOPPING_CACHE", str(tmp_path / "variable"))
    assert tmp_path / "argument" == loading.cache_folder(tmp_path / "argument")
    assert tmp_path / "variable" == loading.cache_folder(None)
    monkeypatch.delenv("STOPPING_CACHE")
    assert "stopping" == loading.cache_folder(None).name


def test_the_embedded_model_is_converted_once(
    embedded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start loads the saved folder, fast, to the same weights and the same tokens."""

    def refuse(*args: Any) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(loading, "_convert", refuse)
    model, tokenizer = embedded
    began = time.perf_counter()
    again, its = load(weights_path())
    assert time.perf_counter() - began < 15
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name]), name
    text = "<|im_start|>user\nNa\u00efve?<|im_end|>\n"
    assert tokenizer(text)["input_ids"] == its(text)["input_ids"]
    assert "Na\u00efve?" in its.decode(its(text)["input_ids"])
