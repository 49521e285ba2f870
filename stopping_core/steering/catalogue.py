"""Certificates by model, quantisation and template: which is in use, and what it was made of."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stopping_core.certificates import Certificate, bare_model
from stopping_core.plain_data import members
from stopping_core.profiles import profile as find_profile
from stopping_core.steering.recorder import RunRecorder
from stopping_core.steering.releases import Release, Releases, replace_file
from stopping_core.stopping import AdaptiveStopping
from stopping_core.templates import Template, load_template
from stopping_core.types import Request

_log = logging.getLogger(__name__)

_KEY = "key.json"
_MAX_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """What a catalogue holds for one model, in one quantisation, under one template.

    Args:
        folder: Of the entry.
        model: Name, without folders and owners.
        fingerprint: Of weights, quantisation and engine, ``""`` where nobody told it.
        template: The template.
    """

    folder: Path
    model: str
    fingerprint: str
    template: Template

    @property
    def releases(self) -> Releases:
        """The certificates, of which one is in use."""
        return Releases(self.folder)

    @property
    def runs(self) -> Path:
        """The folder of the runs that production records."""
        return self.folder / "runs"

    @property
    def certificate(self) -> Certificate | None:
        """The certificate in use, or None."""
        releases = self.releases
        return Certificate.load(releases.current) if releases.history else None

    def load(
        self, risk: float | None = None, *, profile: str = "balanced", **changes: Any
    ) -> AdaptiveStopping:
        """Make the settings of the certificate in use; where there is none, those of shadow mode.

        So are they where the certificate has no level as small as is asked for, which is logged.
        Requests that it does not hold for are answered in shadow too. What is promoted later counts
        where settings are loaded anew.

        Args:
            risk: As of :meth:`AdaptiveStopping.load <stopping_core.AdaptiveStopping.load>`.
            profile: Likewise.
            changes: Likewise.

        Raises:
            ValueError: As there.
        """
        certificate = self.certificate
        wanted = find_profile(profile).risk if risk is None else risk
        if certificate is not None and certificate.levels[0].risk > wanted:
            least = certificate.levels[0].risk
            _log.warning("%s: certified from %g on, asked for is %g", self.folder, least, wanted)
            certificate = None
        if certificate is None:
            return AdaptiveStopping.from_profile(profile, **{**changes, "mode": "shadow"})
        settings = {"otherwise": "shadow", **changes}
        return AdaptiveStopping.load(self.releases.current, risk, profile=profile, **settings)

    def recorder(
        self,
        grader: str,
        gold: Callable[[Request, str], Sequence[str]] | None = None,
        *,
        share: float = 0.1,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> RunRecorder:
        """Make the hook that records runs to refit on.

        Args:
            grader: As of :class:`~stopping_core.steering.RunRecorder`.
            gold: Likewise.
            share: Likewise.
            max_tokens: Likewise. None for that of the certificate in use, else 1024.
            temperature: Likewise. None for that of the certificate in use, else 0.

        Raises:
            ValueError: As there.
        """
        known = self.certificate
        if max_tokens is None:
            max_tokens = _MAX_TOKENS if known is None else known.scope.max_tokens
        if temperature is None:
            temperature = 0.0 if known is None else known.scope.temperature
        return RunRecorder(
            self.runs,
            self.model,
            self.template,
            max_tokens=max_tokens,
            grader=grader,
            gold=gold,
            share=share,
            fingerprint=self.fingerprint,
            temperature=temperature,
        )


class Catalogue:
    """A folder with an entry for each model, quantisation and template.

    A service asks for the entry of what it runs, and loads its settings. After a model was swapped
    that is another entry, without a certificate as yet: nothing is cut, and what production records
    there is what ``stopping refit`` makes the first certificate of.

    Args:
        folder: Made where it does not exist.

    Raises:
        OSError: The folder cannot be made.

    Examples:
        >>> import tempfile
        >>> catalogue = Catalogue(tempfile.mkdtemp())
        >>> entry = catalogue.entry("owner/small-1.gguf", "plain")
        >>> entry.model, entry.load().mode
        ('small-1', 'shadow')
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, by name; one whose key is damaged is left out, which is logged."""
        found = []
        for path in sorted(self.folder.glob(f"*/{_KEY}")):
            try:
                found.append(_entry(path))
            except ValueError as error:
                _log.error("%s", error)
        return tuple(found)

    def entry(self, model: str, template: Template | str | Path, fingerprint: str = "") -> Entry:
        """Return the entry of a model under a template; it is made where there is none.

        Args:
            model: Name; folders and owners before it do not count.
            template: A template, or the name or TOML file of one.
            fingerprint: Of weights, quantisation and engine, as requests have it: of a local model
                ``transformers_stopping.fingerprints.known_fingerprint(model, tokenizer)``. ``""``
                where it is not known, as behind an endpoint: then it is the one entry of that name,
                or where there are several one of its own. A model that is swapped there under the
                same name is not noticed here.

        Raises:
            ValueError: No model is named, or the template is none.
        """
        name = bare_model(model)
        if not name:
            raise ValueError(f"model must be named, got {model!r}")
        made = template if isinstance(template, Template) else load_template(template)
        found = [one for one in self._entries(name, made) if fingerprint in ("", one.fingerprint)]
        if len(found) > 1:
            known = ", ".join(one.fingerprint or "none" for one in found)
            _log.warning(
                "%s under %s has several fingerprints, and none was given: %s",
                *(name, made.name, known),
            )
            found = [one for one in found if not one.fingerprint]
        return found[0] if found else self._make(name, made, fingerprint)

    def promote(self, certificate: str | Path, why: str = "") -> tuple[Entry, Release]:
        """Put a certificate in use in the entry that it is for.

        By its fingerprint, else in the one whose fingerprint nobody told, as behind an endpoint.

        Raises:
            ValueError: It is no certificate, or the one in use.
            OSError: It cannot be read, or the folder not be written.
        """
        scope = Certificate.load(certificate).scope
        asked = scope.model, scope.template
        known = {one.fingerprint for one in self._entries(*asked)}
        unknown = scope.model_fingerprint not in known and "" in known
        entry = self.entry(*asked, "" if unknown else scope.model_fingerprint)
        return entry, entry.releases.promote(certificate, why)

    def _entries(self, model: str, template: Template) -> list[Entry]:
        """Those of a model under a template, in all quantisations."""
        return [
            one
            for one in self.entries
            if one.model == bare_model(model) and one.template.fingerprint == template.fingerprint
        ]

    def _make(self, model: str, template: Template, fingerprint: str) -> Entry:
        content = {
            "model": model,
            "model_fingerprint": fingerprint,
            "template": asdict(template),
        }
        said = (model, fingerprint, template.fingerprint)
        digest = hashlib.sha256(repr(said).encode()).hexdigest()[:8]
        plain = re.sub(r"[^a-z0-9._]+", "-", f"{model}-{template.name.casefold()}").strip("-.")
        folder = self.folder / f"{plain[:60]}-{digest}"
        folder.mkdir(exist_ok=True)
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        replace_file(folder / _KEY, text.encode("utf-8"))
        return Entry(folder, model, fingerprint, template)


def _entry(path: Path) -> Entry:
    try:
        data: Any = json.loads(path.read_text("utf-8"))
        held = members(data, ("model", "model_fingerprint", "template"), "key")
        template = Template(**held["template"])
        for name in ("model", "model_fingerprint"):
            if not isinstance(held[name], str):
                raise ValueError(f"key.{name} must be a text, got {held[name]!r}")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: is damaged: {error}") from error
    return Entry(path.parent, held["model"], held["model_fingerprint"], template)
