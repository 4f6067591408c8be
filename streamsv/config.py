"""Dataclasses from YAML: a wrong key or value is an error that names file, key and what is allowed.

A configuration is a frozen dataclass whose field defaults are the defaults; nested dataclasses
are nested tables. Each dataclass checks its own values in ``__post_init__`` and raises
:class:`~streamsv.errors.ConfigError`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from streamsv.errors import ConfigError

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build the dataclass ``cls`` from nested plain values.

    ``where`` is the dotted name of this table, for error messages. Lists become tuples and
    whole numbers become floats where the field's type says so. A field is a bool, an int, a
    float, a str, one of these ``| None``, a tuple or a dict of them, or another such dataclass.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'The file'} must be a table of keys and values.", str(values))
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    hints = typing.get_type_hints(cls)
    built: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in fields:
            raise ConfigError(
                f"{name} is not a key; known here are {', '.join(sorted(fields))}.", str(key)
            )
        built[key] = _converted(hints[key], value, name)
    for field in fields.values():
        no_default = field.default is dataclasses.MISSING
        if field.name not in built and no_default and field.default_factory is dataclasses.MISSING:
            name = f"{where}.{field.name}" if where else field.name
            raise ConfigError(f"{name} is missing.", None)
    return cls(**built)


def load(cls: type[T], path: Path) -> T:
    """Read a YAML file into the dataclass ``cls``. Raises ConfigError naming file and key."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no file {path}. Check the name and the directory.", str(path)
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}.", str(path)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as the date 2025-13-01
        raise ConfigError(f"{path} is not YAML: {error}", str(path)) from error
    try:
        return from_mapping(cls, {} if values is None else values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.value) from error


def to_mapping(config: Any) -> dict[str, Any]:
    """The inverse of :func:`from_mapping`: nested plain values, tuples as lists."""
    mapping: dict[str, Any] = _plain(config)
    return mapping


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _converted(wanted: Any, value: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        return _converted(options[0], value, name)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return from_mapping(wanted, value, name)
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is Ellipsis:
            inner = [arguments[0]] * len(value)
        elif len(arguments) == len(value):
            inner = list(arguments)
        else:
            raise ConfigError(
                f"{name} needs {len(arguments)} values, not {len(value)}.", str(value)
            )
        return tuple(
            _converted(kind, item, f"{name}[{i}]")
            for i, (kind, item) in enumerate(zip(inner, value, strict=True))
        )
    if origin is dict and isinstance(value, Mapping):
        return {str(k): _converted(arguments[1], item, f"{name}.{k}") for k, item in value.items()}
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{name} is too large a number.", str(value)) from error
    if wanted is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if wanted in (str, bool) and isinstance(value, wanted):
        return value
    raise ConfigError(f"{name} is {value!r}; expected {_described(wanted)}.", str(value))


def _described(wanted: Any) -> str:
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    if typing.get_origin(wanted) is tuple:
        return "a list"
    if typing.get_origin(wanted) is dict:
        return "a table"
    return words.get(wanted, str(wanted))
