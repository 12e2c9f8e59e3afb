"""TFRecord files of tf.train.Example, read without TensorFlow.

A file is records behind each other: 8 bytes length (little-endian), 4 bytes checksum of it, the record, 4 bytes checksum of
that. Checksums are not verified: a cut is found by the lengths, damage within a record mostly by its form. A record is a
protobuf message: Example {1: Features {1: map of name to Feature {1: BytesList | 2: FloatList | 3: Int64List}}}; lists of
integers are left out here. A SequenceExample has its context at the same place and reads the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unspool.errors import UserError

Features = dict[str, list[memoryview] | np.ndarray]


def spans(path: Path) -> list[tuple[int, int]]:
    """(offset, length) of each record, which are not read. Raises UserError where the file ends within one."""
    found: list[tuple[int, int]] = []
    with open(path, "rb") as file:
        total = file.seek(0, 2)
        at = 0
        while at < total:
            file.seek(at)
            length = int.from_bytes(file.read(8), "little")
            end = at + 12 + length + 4
            if end > total:
                raise UserError(f"cannot read {path}: record {len(found) + 1} is cut short; copy or download it again")
            found.append((at + 12, length))
            at = end
    return found


def features(path: Path, offset: int, length: int) -> Features:
    """The features of one record by name: byte strings, or numbers (N,) float32. Raises UserError for what is no Example."""
    with open(path, "rb") as file:
        file.seek(offset)
        record = memoryview(file.read(length))
    try:
        return {
            name: feature
            for message in _all(record, 1)
            for entry in _all(message, 1)
            for name, feature in [(str(_all(entry, 1)[0], "utf-8"), _feature(_all(entry, 2)[0]))]
        }
    except (IndexError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {path}: the record at byte {offset} is damaged; copy or download it again") from error


def _feature(message: memoryview) -> list[memoryview] | np.ndarray:
    if texts := _all(message, 1):
        return _all(texts[0], 1)
    numbers = [part for floats in _all(message, 2) for part in _all(floats, 1)]  # packed in one part, or a part each
    return np.frombuffer(b"".join(numbers), "<f4")


def _all(message: memoryview, number: int) -> list[Any]:
    return [value for field, value in _fields(message) if field == number]


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: an int of a varint, else the bytes. Raises ValueError or IndexError for no message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(message):
            raise ValueError("a field is longer than its message")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")
