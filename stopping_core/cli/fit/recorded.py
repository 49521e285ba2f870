"""Recorded runs as production would see them: question and context out of what was sent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stopping_core.certificates import Origin, Scope
from stopping_core.cli.bench.sweeping import channel_of, every_of
from stopping_core.policies.learned import LearnedStopping
from stopping_core.questions import Question
from stopping_core.templates import Template, load_template
from stopping_core.traces.header import check_alike
from stopping_core.traces.run import Header, Run, Trace
from stopping_core.traces.splits import family_of
from stopping_core.traces.store import read_trace
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class Recorded:
    """The runs of some files of one model under one template.

    Args:
        runs: The runs, with question and context as the template reads them.
        scope: What they have in common.
        digests: SHA-256 of each file.
    """

    runs: tuple[Run, ...]
    scope: Scope
    digests: tuple[str, ...]


def read_recorded(paths: Sequence[Path], template: Template | str | None) -> Recorded:
    """Read trace files.

    Args:
        paths: The files.
        template: Their template, or its name or file; None for that of their name in this package.

    Raises:
        ValueError: A file is damaged, or two are the same, or they are not of one model, template
            and cap, or the template is not that of the runs.
        OSError: A file cannot be read.
    """
    digests = _digests(paths)
    traces = {path: read_trace(path) for path in paths}
    first, *others = traces.items()
    for path, trace in others:
        check_alike(first[0], first[1].header, path, trace.header)
    known = _template(first[0], first[1].header, template)
    read = [as_sent(path, run, known) for path, trace in traces.items() for run in trace.runs]
    frames = {frame for _, frame in read}
    runs = tuple(run for run, _ in read)
    return Recorded(
        runs,
        _scope(first[1], known, frames.pop() if len(frames) == 1 else None, runs),
        digests,
    )


def request_of(run: Run) -> Request:
    """What production knows of such a request: not the length of its prompt, with most models."""
    return replace(run.request(), prompt_tokens=None)


def family_hash(run: Run) -> str:
    """Name what splits keep whole (family, else group, else question): 16 hex digits."""
    kind, name = family_of(run)
    return hashlib.sha256(f"{kind}:{name}".encode()).hexdigest()[:16]


def passage_hash(run: Run) -> str:
    """Name what a run was asked about, whatever its file calls it: 16 hex digits.

    The words of the context, or of the question where there is no context.
    """
    about = " ".join((run.context or run.question).casefold().split())
    return hashlib.sha256(f"passage:{about}".encode()).hexdigest()[:16]


def origin_of(recorded: Recorded, runs: Sequence[Run], seed: int) -> Origin:
    """Say where figures come from that were made of some of the recorded runs."""
    passages = tuple(sorted(set(map(passage_hash, runs))))
    return Origin(recorded.digests, family_hashes(runs), passages, len(runs), seed)


def family_hashes(runs: Sequence[Run]) -> tuple[str, ...]:
    """The families of some runs, each once, sorted."""
    return tuple(sorted(set(map(family_hash, runs))))


def _digests(paths: Sequence[Path]) -> tuple[str, ...]:
    """Take the SHA-256 of each file.

    Raises:
        ValueError: Two of them hold the same.
    """
    if len(set(paths)) < len(paths):
        raise ValueError(f"traces must differ, got {', '.join(map(str, paths))}")
    found: dict[str, Path] = {}
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in found:
            raise ValueError(f"traces must differ, got the same content in {found[digest]}, {path}")
        found[digest] = path
    return tuple(found)


def _template(path: Path, header: Header, given: Template | str | None) -> Template:
    try:
        wanted = header.template if given is None else given
        template = wanted if isinstance(wanted, Template) else load_template(wanted)
    except ValueError as error:
        if given is not None:
            raise
        raise ValueError(
            f"{path}: was recorded under the template {header.template!r}, which is none of this "
            f"package's: name its file with --template"
        ) from error
    if template.fingerprint != header.template_fingerprint:
        raise ValueError(
            f"{path}: was recorded under a template {header.template!r} of other content "
            f"({header.template_fingerprint}) than {template.name!r} ({template.fingerprint}): "
            f"name its file with --template"
        )
    return template


def as_sent(path: Path, run: Run, template: Template) -> tuple[Run, tuple[str, str]]:
    """Read question and context back from what was sent, and take what stood around it.

    Args:
        path: Where the run is from, for errors.
        run: The run.
        template: That its prompt was made of.

    Raises:
        ValueError: It was not made of that.
    """
    before = after = ""
    sent = run.prompt
    if template.chat:
        question = Question(run.question_id, run.question, run.gold, run.context)
        messages = template.messages(question)
        sent = next(one["content"] for one in messages if one["role"] == "user")
        before, found, after = run.prompt.partition(sent)
        sent = found
    read = template.read(sent)
    if read is None:
        raise ValueError(
            f"{path}: run {run.question_id!r}: its prompt is not what the template "
            f"{template.name!r} makes of its question"
        )
    return replace(run, question=read[0], context=read[1]), (before, after)


def _scope(
    trace: Trace, template: Template, frame: tuple[str, str] | None, runs: Sequence[Run]
) -> Scope:
    header = trace.header
    questions = [len(run.question.split()) for run in runs]
    contexts = [len(run.context.split()) for run in runs]
    return Scope(
        model=header.model,
        model_fingerprint=header.model_fingerprint,
        template=template,
        frame=frame if template.chat else None,
        channel=channel_of(trace),
        reasoning_tags=header.reasoning_tags,
        every=every_of(trace),
        look_every=LearnedStopping(0.0).every,
        temperature=header.temperature,
        max_tokens=header.max_tokens,
        probe_tokens=header.probe_tokens,
        question_words=(min(questions), max(questions)),
        context_words=(min(contexts), max(contexts)),
    )
