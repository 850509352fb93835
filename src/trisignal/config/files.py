"""Settings files: JSON, TOML, YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from trisignal.errors import ConfigError, MissingExtraError

FILE_VARIABLE = "TRISIGNAL_CONFIG"


def read_file(path: str) -> Mapping[str, object]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(FILE_VARIABLE, path, f"a readable file ({error.strerror})", "environment") from None
    except UnicodeDecodeError:
        wanted = f"a valid {Path(path).suffix.lower()[1:]} file (it is not UTF-8 text)"
        raise ConfigError(FILE_VARIABLE, path, wanted, "environment") from None
    suffix = Path(path).suffix.lower()
    try:
        loaded = _parse(text, suffix)
    except ValueError as error:
        raise ConfigError(FILE_VARIABLE, path, f"a valid {suffix[1:]} file ({error})", "environment") from None
    if not isinstance(loaded, dict):
        raise ConfigError(FILE_VARIABLE, path, "a file that holds one table of settings", "environment")
    return loaded


def _parse(text: str, suffix: str) -> object:
    if suffix == ".json":
        return json.loads(text)
    if suffix == ".toml":
        try:
            import tomllib  # type: ignore[import-not-found,unused-ignore]  # new in Python 3.11
        except ImportError:  # Python 3.10
            raise ValueError("TOML needs Python 3.11; use JSON or YAML") from None
        return tomllib.loads(text)
    if suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise MissingExtraError("a YAML settings file", "yaml") from None
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            # Its text quotes the file, which may hold secrets.
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark is not None else ""
            raise ValueError(f"{getattr(error, 'problem', None) or 'it cannot be parsed'}{where}") from None
    raise ValueError("the name must end in .json, .toml, .yaml or .yml")
