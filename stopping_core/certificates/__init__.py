"""Learned stopping as files: what was fitted, what was proven of it, and for which requests."""

from stopping_core.certificates.certificate import Certificate, CertifiedLevel
from stopping_core.certificates.fitted import FittedModel, Origin
from stopping_core.certificates.scope import Scope, bare_model

__all__ = ["Certificate", "CertifiedLevel", "FittedModel", "Origin", "Scope", "bare_model"]
