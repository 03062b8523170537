"""The settings: declared once (settings.py), found in every source (sources.py), frozen ever after.

A leaf: imports no other room, and nothing heavy, since a server keeps in memory what it imports.
"""

from eitherway.config.declare import Setting
from eitherway.config.models import ELSEWHERE, MODELS, REACTORS, Model, natives, runs_in_threads
from eitherway.config.settings import SETTINGS, Config
from eitherway.config.sources import Settings, load, option_name
from eitherway.config.unused import unused
from eitherway.config.values import Address, did_you_mean, parse_bind, parse_network

__all__ = [
    "ELSEWHERE",
    "MODELS",
    "REACTORS",
    "SETTINGS",
    "Address",
    "Config",
    "Model",
    "Setting",
    "Settings",
    "did_you_mean",
    "load",
    "natives",
    "option_name",
    "parse_bind",
    "parse_network",
    "runs_in_threads",
    "unused",
]
