"""The embedded weights rounded anew: ``python -m benchmarks.requantise Q4_0 --out FILE.gguf``.

To see what becomes of a rule, or of its certificate, when the model is swapped for one that was
quantised otherwise. What the embedded file holds in 4 bits is de-quantised first, so that the
result is never better than the file itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gguf
from gguf.quants import dequantize, quantize

from stopping_core.embedded import weights_path

KINDS = ("Q4_0", "Q5_0", "Q8_0", "F16")
_ROUNDED = frozenset({gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16})
_OWN = frozenset(
    {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", gguf.Keys.General.ARCHITECTURE}
)


def requantise(source: Path, kind: str, out: Path) -> int:
    """Write a GGUF file whose quantised tensors have another precision.

    Args:
        source: A GGUF file. Tensors that it holds in floating point stay as they are.
        kind: One of :data:`KINDS`.
        out: The new file; replaced where it exists.

    Returns:
        How many tensors were rounded anew.

    Raises:
        ValueError: There is no such kind.
        OSError: A file cannot be read or written.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    wanted = gguf.GGMLQuantizationType[kind]
    reader = gguf.GGUFReader(source)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(out, architecture)
    for name, field in reader.fields.items():
        if name not in _OWN:
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(
                name, _content(name, field, wanted), field.types[0], sub_type=inner
            )
    changed = 0
    for tensor in reader.tensors:
        data: Any = tensor.data
        kept = tensor.tensor_type
        if kept not in _ROUNDED:
            data, kept = quantize(dequantize(data, kept), wanted), wanted
            changed += 1
        writer.add_tensor(tensor.name, data, raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return changed


def _content(name: str, field: gguf.ReaderField, kind: gguf.GGMLQuantizationType) -> Any:
    if name == gguf.Keys.General.FILE_TYPE:
        return int(gguf.LlamaFileType[f"MOSTLY_{kind.name}"])
    return field.contents()


def main() -> None:
    """Requantise the embedded weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    changed = requantise(weights_path(), asked.kind, asked.out)
    print(
        f"Wrote {asked.out}: {changed} tensors as {asked.kind}, {asked.out.stat().st_size} bytes."
    )


if __name__ == "__main__":
    main()
