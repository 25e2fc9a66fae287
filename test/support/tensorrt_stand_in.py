# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's runtime and builds where there is no GPU: ONNX Runtime, in a stand-in's memory.

A "plan" is a header, which says what it was made for, and an ONNX model. See ``gpu_stand_in``.
"""

import hashlib
import json
import pickle
import weakref
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from trt_segmentation.backends.tensorrt import build_process, engine_loader, stage
from trt_segmentation.backends.tensorrt.api import Log
from trt_segmentation.backends.tensorrt.builder import Plan
from trt_segmentation.backends.tensorrt.layers import parse_layers

VERSION = '10.3.0'
SCRATCH = 12_345
"""Bytes that a context takes for itself, as the engine says."""

_DTYPES = {TensorProto.FLOAT: 'FLOAT', TensorProto.FLOAT16: 'HALF', TensorProto.UINT8: 'UINT8',
           TensorProto.INT8: 'INT8', TensorProto.INT32: 'INT32', TensorProto.INT64: 'INT64'}


class TensorRt:
    """The stand-in, in the place of the module ``tensorrt`` and of ``build_in_child``.

    Args:
        gpu: where it runs.
        monkeypatch: of the test that it is there for.

    Attributes:
        module: in the place of ``tensorrt``.
        builds: keyword arguments of every build.
    """

    def __init__(self, gpu, monkeypatch):
        self._gpu, self.builds = gpu, []
        self.module = SimpleNamespace(
            __name__='tensorrt', __version__=VERSION, ILogger=type('ILogger', (), {}),
            IProfiler=type('IProfiler', (), {}),
            Builder=object, Runtime=lambda logger: Runtime(gpu, self.module, logger),
            LayerInformationFormat=SimpleNamespace(JSON='JSON'),
            nptype=lambda dtype: dtype.numpy)
        log = Log(self.module)
        for user in (engine_loader, stage):
            monkeypatch.setattr(user, 'find_tensorrt', lambda: self.module)
        monkeypatch.setattr(stage, 'find_log', lambda: log)
        monkeypatch.setattr(engine_loader, 'find_device', lambda index: gpu.device)
        monkeypatch.setattr(build_process, 'build_in_child', self._build)

    def plan(self, model, profiles=None, version=None, formats=None, gpu=None):
        """Return a plan for this TensorRT and GPU.

        Args:
            model: an ONNX model, serialized or not.
            profiles: smallest, tuned-for and largest shape by input.
            version, gpu: of another machine.
            formats: memory formats that are not LINEAR, by tensor.
        """
        data = model if isinstance(model, bytes) else model.SerializeToString()
        header = {'version': version or self.module.__version__,
                  'gpu': gpu or self._gpu.device.name, 'profiles': profiles or {},
                  'formats': formats or {}, 'digest': hashlib.sha256(data).hexdigest()}
        return json.dumps(header).encode() + b'\n' + data

    def _build(self, model, profiles, options, **more):
        pickle.dumps((model, profiles, options, more))  # which all goes to another process
        self.builds.append({'profiles': profiles, 'options': options, **more})
        return Plan(self.plan(model, profiles), b'times', parse_layers(_layers_of(model)), 0.1)


@cache
def _layers_of(data):
    """Return what the engine inspector would say of a model: every node is a layer."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(data)).graph
    types = {value.name: value.type.tensor_type.elem_type
             for value in (*graph.value_info, *graph.output)}
    words = {TensorProto.FLOAT: 'FP32', TensorProto.FLOAT16: 'Half', TensorProto.INT8: 'Int8'}
    return json.dumps({'Layers': [
        {'Name': node.name or node.output[0], 'LayerType': node.op_type,
         'Outputs': [{'Format/Datatype': words.get(types.get(name), '')} for name in node.output]}
        for node in graph.node]})


class Runtime:
    """Loads plans."""

    def __init__(self, gpu, module, logger):
        gpu.demand_current()
        self._gpu, self._module, self._logger = gpu, module, logger

    def deserialize_cuda_engine(self, plan):
        text, _, data = plan.partition(b'\n')
        try:
            header = json.loads(text)
            fault = self._fault(header, data)
        except (ValueError, KeyError):
            fault = 'magic tag does not match'
        if fault:
            return _say(self._logger, f'IRuntime::deserializeCudaEngine: {fault}', None)
        self._gpu.counts['engines'] += 1
        return Engine(self._gpu, self._logger, header, data)

    def _fault(self, header, data):
        """Return why a plan is not loaded, as TensorRT words it; '' where it is."""
        if header['digest'] != hashlib.sha256(data).hexdigest():
            return 'Serialization assertion plan.header.size == blobSize failed.'
        wanted, here = header['version'], self._module.__version__
        if wanted != here:
            return ('The engine plan file is not compatible with this version of TensorRT, '
                    f'expecting library version {here} got {wanted}, please rebuild.')
        wanted, here = header['gpu'], self._gpu.device.name
        if wanted != here:
            return ('The engine plan file is generated on an incompatible device, expecting '
                    f'{here} got {wanted}, please rebuild.')
        return ''


def _say(logger, text, result):
    logger.log(SimpleNamespace(name='ERROR'), text)
    return result


class Engine:
    """An ONNX model on ONNX Runtime, as an engine with one profile."""

    def __init__(self, gpu, logger, header, data):
        self.gpu, self.logger, self.data = gpu, logger, data
        self.device_memory_size = SCRATCH
        self._profiles, self._formats = header['profiles'], header['formats']
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        self.session = onnxruntime.InferenceSession(data, options, ['CPUExecutionProvider'])
        graph = onnx.load_from_string(data).graph
        self.inputs = [value.name for value in self.session.get_inputs()]
        self._types = {value.name: value.type.tensor_type
                       for value in (*graph.input, *graph.output)
                       if value.name in self.inputs or value in graph.output}
        self.num_io_tensors = len(self._types)
        self.contexts = weakref.WeakSet()

    def __del__(self):
        self.gpu.counts['engines freed'] += bool(self.gpu.depth())

    def get_tensor_name(self, index):
        return list(self._types)[index]

    def get_tensor_mode(self, name):
        return SimpleNamespace(name='INPUT' if name in self.inputs else 'OUTPUT')

    def get_tensor_shape(self, name):
        return [dim.dim_value if dim.HasField('dim_value') else -1
                for dim in self._types[name].shape.dim]

    def get_tensor_dtype(self, name):
        kind = self._types[name].elem_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        return SimpleNamespace(name=_DTYPES[kind], itemsize=dtype.itemsize, numpy=dtype)

    def get_tensor_format(self, name):
        return SimpleNamespace(name=self._formats.get(name, 'LINEAR'))

    def get_tensor_profile_shape(self, name, profile):
        return self._profiles.get(name) or [self.get_tensor_shape(name)] * 3

    def create_execution_context(self):
        self.gpu.demand_current()
        self.gpu.counts['contexts'] += 1
        context = Context(self)
        self.contexts.add(context)
        return context

    def create_engine_inspector(self):
        return SimpleNamespace(get_engine_information=lambda form: _layers_of(self.data))


class Context:
    """Runs an engine in the memory that is bound to it."""

    def __init__(self, engine):
        self._engine, self._gpu = engine, engine.gpu
        self._shapes = {name: tuple(engine.get_tensor_shape(name)) for name in engine.inputs}
        self._addresses, self._ran, self.profiler = {}, False, None
        # As on TensorRT 8.6: a profile belongs to one context, and there is one profile.
        self._has_profile = not engine.contexts

    def __del__(self):
        for stream in self._gpu.streams.values():
            assert not stream._waiting, 'a context is freed before its work is done'
        self._gpu.counts['contexts freed'] += bool(self._gpu.depth())

    def set_input_shape(self, name, shape):
        assert self._has_profile, 'another context has the optimization profile'
        smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(smallest) or not all(
                low <= extent <= high
                for low, extent, high in zip(smallest, shape, largest, strict=True)):
            return _say(self._engine.logger, f'IExecutionContext::setInputShape: {list(shape)} is '
                        'out of range of the optimization profile', False)
        self._shapes[name], self._ran = tuple(shape), False
        return True

    def infer_shapes(self):
        if missing := [name for name in self._engine.inputs if -1 in self._shapes[name]]:
            return missing
        blank = {name: np.zeros(self._shapes[name], self._dtype(name))
                 for name in self._engine.inputs}
        self._shapes.update({name: array.shape for name, array in self._run(blank).items()})
        return []

    def get_tensor_shape(self, name):
        return self._shapes[name]

    def set_tensor_address(self, name, address):
        self._gpu.bytes_at(address)
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle):
        stream = self._gpu.streams[handle]
        if self._gpu.fails('enqueue'):
            return _say(self._engine.logger, 'IExecutionContext::enqueueV3: CUDA launch failure',
                        False)
        self._gpu.counts['enqueued'] += 1
        if stream.recording is not None and not self._ran:
            stream.spoilt = True  # the first run allocates, and no graph can record that
        self._ran = True
        work = partial(_work, weakref.ref(self), dict(self._addresses), dict(self._shapes))
        stream.put(work)
        if self.profiler is not None:
            assert stream.recording is None, 'a graph that is recorded reports no layers'
            stream.synchronize()
            for layer in parse_layers(_layers_of(self._engine.data)):
                self.profiler.report_layer_time(layer.name, 0.25)
        return True

    def _run(self, inputs):
        names = [value.name for value in self._engine.session.get_outputs()]
        return dict(zip(names, self._engine.session.run(names, inputs), strict=True))

    def _dtype(self, name):
        return onnx.helper.tensor_dtype_to_np_dtype(self._engine._types[name].elem_type)


def _work(owner, addresses, shapes):
    context = owner()
    assert context is not None, 'work of a context that was freed: an illegal memory access'

    def view(name):
        memory = context._gpu.bytes_at(addresses[name])
        return memory.view(context._dtype(name)).reshape(shapes[name])

    results = context._run({name: view(name) for name in context._engine.inputs})
    for name, result in results.items():
        np.copyto(view(name), result)
