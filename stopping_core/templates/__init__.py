"""Prompt templates, as files: those of this package, and one's own."""

from stopping_core.templates.template import Template, load_template

__all__ = ["Template", "load_template"]
