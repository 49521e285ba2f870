"""A tiny model in a folder, questions in a file, and ``stopping record`` as a process."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stopping_core.cli.app import app

# Loading torch takes seconds: one process does it, and each recording is a fork of that one.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["stopping_core.cli.record.local", "tests.cli.recording"])


def save_model(folder: Path, seed: int = 7) -> Path:
    """Two layers with large random weights and a token a byte: it rambles, and differently."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: at for at, token in enumerate(["<pad>", "<eos>", *letters])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=made, eos_token="<eos>", pad_token="<pad>").save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.6,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_questions(path: Path, count: int) -> Path:
    """Questions of different lengths, three a group and six a family."""
    rows = [
        {
            "id": f"q{number}",
            "question": f"What is {number}" + " and so on" * (number % 5) + "?",
            "gold": [str(number)],
            "context": f"Passage {number // 3}.",
            "group": f"g{number // 3}",
            "family": f"f{number // 6}",
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def start(log: Path, *arguments: str | Path) -> BaseProcess:
    """Start ``stopping record`` in a process of its own; what it says goes to a file."""
    log.unlink(missing_ok=True)
    process = _PROCESSES.Process(target=_record, args=(log, [str(one) for one in arguments]))
    process.start()
    return process


def _record(log: Path, arguments: list[str]) -> None:
    os.environ["COLUMNS"] = "200"
    with log.open("w", buffering=1) as stream:
        sys.stdout = sys.stderr = stream
        app(["record", *arguments])


def begun(process: BaseProcess, log: Path) -> None:
    """Wait until it is past loading and has planned what to record, or has ended."""
    while process.is_alive() and not (log.exists() and "runs to record" in log.read_text()):
        time.sleep(0.002)
