# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Keras networks by tf2onnx, channels last: float, and int8 through TFLite.

The tests do not use TensorFlow because of its size; install tensorflow-cpu and tf2onnx.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_zoo.entry import HALF, ZOO_CLASSES, Entry, Export, Network
from model_zoo.random_weights import SPREAD

_SKIPPED = ('block_1_expand_relu', 'block_3_expand_relu', 'block_6_expand_relu',
            'block_13_expand_relu', 'block_16_project')


def _unet(size: tuple[int, int], small: bool) -> Any:
    """U-Net of TensorFlow's segmentation tutorial on MobileNetV2, which ends in a softmax."""
    import keras
    from keras import layers
    keras.utils.set_random_seed(0)
    base = keras.applications.MobileNetV2(input_shape=(*size, 3), include_top=False, weights=None,
                                          alpha=0.35 if small else 1.0)
    image = keras.Input((*size, 3), name='image')
    levels = keras.Model(base.input, [base.get_layer(name).output for name in _SKIPPED])(image)
    *skips, x = levels
    for width, skip in zip((64, 32, 16, 8) if small else (512, 256, 128, 64), reversed(skips),
                           strict=True):
        x = layers.Conv2DTranspose(width, 3, strides=2, padding='same', use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, skip])
    logits = layers.Conv2DTranspose(ZOO_CLASSES, 3, strides=2, padding='same', name='logits')(x)
    return keras.Model(image, layers.Softmax(name='probabilities')(logits))


def _channels_last(x: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))


def _channels_first(x: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.asarray(x).transpose(0, 3, 1, 2)))


def _tf2onnx(*options: str) -> None:
    done = subprocess.run([sys.executable, '-m', 'tf2onnx.convert', *options],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'tf2onnx failed: {done.stderr[-2000:]}')


class Keras(torch.nn.Module):
    """A Keras network with the interface of a PyTorch module.

    Args:
        net: float [N, height, width, 3] to probabilities [N, height, width, classes].
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _channels_first(self.net.predict(_channels_last(x), verbose=0))

    def calibrate(self, batch: torch.Tensor) -> None:
        """Compute batch norm statistics; scale logits to mean 0 and std ``SPREAD``."""
        import keras
        fed = _channels_last(batch)
        for layer in self.net._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0  # the statistics are those of the last call
        self.net(fed, training=True)
        last = self.net.get_layer('logits')
        logits = keras.Model(self.net.input, last.output)(fed).numpy().reshape(-1, ZOO_CLASSES)
        factor = SPREAD / logits.std(axis=0)
        kernel, bias = last.get_weights()  # [height, width, classes, channels], [classes]
        last.set_weights([kernel * factor[:, None], (bias - logits.mean(axis=0)) * factor])

    def write(self, size: tuple[int, int], how: Export, path: Path) -> None:
        """Export a SavedModel and convert it."""
        with tempfile.TemporaryDirectory() as folder:
            self.net.export(folder, verbose=False)
            _tf2onnx('--saved-model', folder, '--opset', str(how.opset), '--output', str(path))


class Int8(Keras):
    """A Keras network that runs in float before ``write``, and as TFLite after it."""

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        self.calibration = torch.zeros(0)
        self.interpreter: Any = None

    def calibrate(self, batch: torch.Tensor) -> None:
        super().calibrate(batch)
        self.calibration = batch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.interpreter is None:
            return super().forward(x)
        source, target = (details()[0] for details in (self.interpreter.get_input_details,
                                                  self.interpreter.get_output_details))
        scale, zero = source['quantization']
        pixels = np.clip(np.rint(_channels_last(x) / np.float32(scale)) + zero, -128, 127)
        self.interpreter.set_tensor(source['index'], pixels.astype(np.int8))
        self.interpreter.invoke()
        scale, zero = target['quantization']
        levels = self.interpreter.get_tensor(target['index']).astype(np.float32)
        return _channels_first((levels - zero) * np.float32(scale))

    def write(self, size: tuple[int, int], how: Export, path: Path) -> None:
        """Quantize the whole network to int8 with TFLite's converter, and convert that file."""
        import tensorflow as tf

        def images() -> Iterator[list[np.ndarray]]:
            for image in _channels_last(self.calibration):
                yield [image[None]]

        converter = tf.lite.TFLiteConverter.from_keras_model(self.net)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        content = converter.convert()
        file = path.with_suffix('.tflite')
        file.write_bytes(content)
        _tf2onnx('--tflite', str(file), '--opset', str(how.opset), '--output', str(path))
        self.interpreter = tf.lite.Interpreter(model_content=content)
        self.interpreter.allocate_tensors()


_SMALL, _FULL = (96, 128), (512, 512)


def _network(kind: type[Keras]) -> Callable[[bool], Network]:
    def make(small: bool) -> Network:
        module = kind(_unet(_SMALL if small else _FULL, small))
        return Network(module, lambda probabilities: probabilities, module.calibrate)

    return make


def _entry(name: str, kind: type[Keras], exporter: str) -> Entry:
    return Entry(name, 'Keras', _network(kind), Export(exporter, 17, open_axes='batch'),
                 small=_SMALL, full=_FULL, feed=HALF, needs=('tensorflow', 'tf2onnx'),
                 config='input: {{scale: 0.00784313725, mean: [1, 1, 1]}}')


ENTRIES = (
    _entry('Keras U-Net', Keras, 'tf2onnx'),
    _entry('Keras U-Net TFLite int8', Int8, 'TFLite, tf2onnx'),
)
