"""What an ONNX file must not ask for, read from its bytes before a runtime sees them. Pure.

A tensor may name another file for its numbers, and runtimes open it: relative to wherever the
program was started when a model comes as bytes, as it does here. The networks of this project, and
of the model zoo's packages, hold their numbers themselves.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from enum import Enum

from live_restore.inference.model.protobuf import NotProtobufError, fields

_DEEPEST = 40
_NO_MODEL = "is not a model that ONNX Runtime can load (not an ONNX file, or cut off)"
_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft")


class HostileModelError(Exception):
    """Why a model is not loaded, to be read after its path."""


class _Message(Enum):
    MODEL = "model"
    OPERATOR_SET = "operator set"
    GRAPH = "graph"
    NODE = "node"
    ATTRIBUTE = "attribute"
    TENSOR = "tensor"
    SPARSE = "sparse tensor"
    FUNCTION = "function"
    TRAINING = "training"


_INNER: dict[_Message, dict[int, _Message]] = {
    _Message.MODEL: {
        7: _Message.GRAPH,
        8: _Message.OPERATOR_SET,
        20: _Message.TRAINING,
        25: _Message.FUNCTION,
    },
    _Message.GRAPH: {1: _Message.NODE, 5: _Message.TENSOR, 15: _Message.SPARSE},
    _Message.NODE: {5: _Message.ATTRIBUTE},
    _Message.ATTRIBUTE: {
        5: _Message.TENSOR,
        6: _Message.GRAPH,
        10: _Message.TENSOR,
        11: _Message.GRAPH,
        22: _Message.SPARSE,
        23: _Message.SPARSE,
    },
    _Message.SPARSE: {1: _Message.TENSOR, 2: _Message.TENSOR},
    _Message.FUNCTION: {7: _Message.NODE, 9: _Message.OPERATOR_SET, 11: _Message.ATTRIBUTE},
    _Message.TRAINING: {1: _Message.GRAPH, 2: _Message.GRAPH},
}
_DOMAIN = {_Message.OPERATOR_SET: 1, _Message.NODE: 7}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def require_self_contained(content: bytes) -> None:
    """Refuse a model that names other files, or operators of another maker.

    Parameters
    ----------
    content
        The file.

    Raises
    ------
    HostileModelError
        It does, or it is no ONNX file.
    """
    waiting = [(_Message.MODEL, memoryview(content), 0)]
    while waiting:
        kind, data, depth = waiting.pop()
        if depth > _DEEPEST:
            raise HostileModelError(f"nests graphs deeper than {_DEEPEST}")
        inner = _INNER.get(kind, {})
        try:
            held = list(fields(data))
        except NotProtobufError:
            raise HostileModelError(_NO_MODEL) from None
        for field, value, _ in held:
            if kind is _Message.TENSOR and field in (_EXTERNAL_DATA, _DATA_LOCATION) and value:
                raise HostileModelError("keeps its weights in another file, which is not opened")
            if isinstance(value, int):
                continue
            if field == _DOMAIN.get(kind):
                domain = bytes(value).decode(errors="replace")
                if domain not in _KNOWN_DOMAINS:
                    raise HostileModelError(f"needs operators of {domain[:60]!r}")
            if field in inner:
                waiting.append((inner[field], value, depth + 1))
