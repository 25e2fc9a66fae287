# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""External engines, for example of ``trtexec``: float images in, scores or class ids out."""

from dataclasses import replace
from typing import Any

from onnx import TensorProto

from trt_segmentation.backends.tensorrt.stage import Shape, Stage
from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.network import Network, TensorInfo, outline_network
from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX
from trt_segmentation.model_config import ModelConfig

_DTYPES = {'FLOAT': TensorProto.FLOAT, 'HALF': TensorProto.FLOAT16, 'BF16': TensorProto.BFLOAT16,
           'UINT8': TensorProto.UINT8, 'INT32': TensorProto.INT32, 'INT64': TensorProto.INT64}


def external_stage(loaded: Stage) -> Stage:
    """Return an engine as the middle stage, its tensors named as head and tail name them."""
    return replace(loaded, tensor_names={name: NETWORK_PREFIX + name
                                         for name, _, _ in loaded.tensors()})


def describe_stage(stage: Stage, config: ModelConfig, source: str) -> Network:
    """Return the inputs and outputs of an engine.

    If the engine's input size is open, it is the config's ``input.size``, else the size that the
    engine was tuned for.

    Args:
        stage: of ``external_stage``.
        config: the user's config of the engine.
        source: the engine's name in messages.

    Raises:
        ModelError: the engine's tensors have types or formats that head and tail do not support.
    """
    inputs = {name: _fed_shape(stage.engine, name, config)
              for name, _, is_input in stage.tensors() if is_input}
    outputs = stage.set_shapes({NETWORK_PREFIX + name: shape for name, shape in inputs.items()})
    shapes = inputs | {name: outputs[shared]
                       for name, shared, is_input in stage.tensors() if not is_input}
    infos = {name: TensorInfo(name, _dtype(stage.engine, name, source), shape)
             for name, shape in shapes.items()}
    return outline_network(source, [infos[name] for name in inputs],
                           [info for name, info in infos.items() if name not in inputs])


def stage_facts(stage: Stage) -> dict[str, Any]:
    """Return the description of an engine's tensors, as in the sidecar of our own engines."""
    engine = stage.engine
    tensors = [(name, 'inputs' if is_input else 'outputs',
                f'{engine.get_tensor_dtype(name).name} {list(engine.get_tensor_shape(name))}')
               for name, _, is_input in stage.tensors()]
    profile = {name: [list(shape) for shape in engine.get_tensor_profile_shape(name, 0)]
               for name, side, _ in tensors
               if side == 'inputs' and -1 in tuple(engine.get_tensor_shape(name))}
    return {'tensors': tensors, 'profile': profile}


def _fed_shape(engine: Any, name: str, config: ModelConfig) -> Shape:
    shape = tuple(engine.get_tensor_shape(name))
    if -1 not in shape:
        return shape
    tuned = tuple(engine.get_tensor_profile_shape(name, 0)[1])
    wanted = list(tuned)
    if len(shape) == 4:
        wanted[0] = 1
        height_axis = 1 if shape[3] in (1, 3) else 2
        if config.input.size is not None:
            wanted[height_axis:height_axis + 2] = config.input.size
    return tuple(want if extent == -1 else extent
                 for extent, want in zip(shape, wanted, strict=True))


def _dtype(engine: Any, name: str, source: str) -> int:
    dtype, layout = engine.get_tensor_dtype(name).name, engine.get_tensor_format(name).name
    if layout != 'LINEAR':
        raise ModelError(f"{source}: '{name}' has the memory format {layout}; build the engine "
                         'with its default input and output formats')
    if dtype not in _DTYPES:
        raise ModelError(f"{source}: '{name}' holds {dtype}; build the engine with one of "
                         f'{", ".join(_DTYPES)} there')
    return _DTYPES[dtype]
