"""Keras models as SavedModels: one signature, its tensors named. Only `serving.export` calls it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from kiosk_tasks.errors import UnusableModel

__all__ = ["save_keras"]

_CUSTOM = re.compile(
    r"Could not locate (?:class|function) '(?P<name>[^']+)'|Unknown \w+: '?(?P<old>\w+)"
)
_MADE_UP = re.compile(r"(keras_tensor|input_layer|input|inputs|args)(_\d+)?")
"""What Keras calls an input that nobody has named."""
_WAY_OUT = "export it where it was made, with model.export(folder), and give me that folder."


def save_keras(source: Path, folder: Path, tensorflow: Any) -> None:
    """Write the model in a `.keras` or `.h5` file as a SavedModel.

    Inputs and outputs of `serving_default` are called what the model calls them: inputs by their
    names (`image`, where the only one has none), outputs by the keys of the model's dictionary,
    else by the layers that give them. Floating outputs are float32, whatever the layers compute in.
    Raises UnusableModel where Keras cannot load the model by itself.
    """
    keras = import_module("keras")
    model = _load(keras, source)
    inputs = _inputs(model, source)
    names = _input_names(inputs)
    specs = [
        tensorflow.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for tensor, name in zip(inputs, names, strict=True)
    ]

    def served(*tensors: Any) -> dict[str, Any]:
        packed = keras.tree.pack_sequence_as(_structure(model), tensors)
        answer = model(packed, training=False)
        found = answer if isinstance(answer, dict) else _named(model, keras.tree.flatten(answer))
        return {name: _in_float32(tensorflow, tensor) for name, tensor in found.items()}

    module = tensorflow.Module()
    module.model = model
    module.served = tensorflow.function(served, input_signature=specs)
    try:
        signature = module.served.get_concrete_function()
    except (ValueError, TypeError, tensorflow.errors.OpError) as exc:
        reason = str(exc).strip().splitlines()[0]
        raise UnusableModel(f"{source.name} cannot be run as a graph: {reason}") from exc
    tensorflow.saved_model.save(module, str(folder), signatures=signature)


def _load(keras: Any, source: Path) -> Any:
    try:
        return keras.saving.load_model(source, compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, ImportError) as exc:
        raise UnusableModel(_why_not(source.name, str(exc))) from exc


def _why_not(name: str, said: str) -> str:
    custom = _CUSTOM.search(said)
    if custom:
        layer = custom["name"] or custom["old"]
        return f"{name} uses {layer}, which is no part of Keras, so nothing can load it; {_WAY_OUT}"
    if "Lambda" in said and "disallowed" in said:
        return f"{name} has a Lambda layer, code that is not run from a file; {_WAY_OUT}"
    if "No model config" in said:
        return f"{name} holds weights only; give me the whole model, saved with model.save(file)."
    if "accessible `.keras` zip file" in said:
        return f"{name} is damaged, or no .keras file; save it anew with model.save(file)."
    first = said.strip().splitlines()[0] if said.strip() else "Keras does not say why"
    return f"{name} is no Keras model that can be loaded: {first[:300].rstrip('.')}."


def _inputs(model: Any, source: Path) -> Sequence[Any]:
    """Return the model's inputs; a subclassed or unbuilt model has none that are known."""
    inputs: Sequence[Any] = getattr(model, "inputs", None) or ()
    if not inputs:
        raise UnusableModel(f"{source.name} does not say what its inputs are; {_WAY_OUT}")
    return inputs


def _input_names(inputs: Sequence[Any]) -> list[str]:
    names = [re.sub(r"\W", "_", tensor.name) for tensor in inputs]
    if len(names) == 1 and _MADE_UP.fullmatch(names[0]):
        return ["image"]
    return _distinct(names)


def _structure(model: Any) -> Any:
    """Return how the model wants its inputs nested; a Sequential one has one, bare."""
    return model.inputs[0] if type(model).__name__ == "Sequential" else model.input


def _named(model: Any, tensors: Sequence[Any]) -> dict[str, Any]:
    names = getattr(model, "output_names", None) or [model.layers[-1].name]
    return dict(zip(_distinct(names), tensors, strict=True))


def _distinct(names: Sequence[str]) -> list[str]:
    """Number what comes a second time: a layer may be shared."""
    taken: dict[str, int] = {}
    result = []
    for name in names:
        taken[name] = taken.get(name, 0) + 1
        result.append(name if taken[name] == 1 else f"{name}_{taken[name]}")
    return result


def _in_float32(tensorflow: Any, tensor: Any) -> Any:
    return tensorflow.cast(tensor, tensorflow.float32) if tensor.dtype.is_floating else tensor
