# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One module per family; each lists its networks as ENTRIES."""

from model_zoo.families import (
    from_keras,
    from_mmsegmentation,
    from_optimum,
    from_paddleseg,
    from_smp,
    from_torchvision,
    from_transformers,
    from_ultralytics,
    like_tao,
    quantized_by_onnxruntime,
)

ENTRIES = (*from_torchvision.ENTRIES, *from_transformers.ENTRIES, *from_optimum.ENTRIES,
           *from_smp.ENTRIES, *from_mmsegmentation.ENTRIES, *from_ultralytics.ENTRIES,
           *like_tao.ENTRIES, *quantized_by_onnxruntime.ENTRIES, *from_keras.ENTRIES,
           *from_paddleseg.ENTRIES)
"""All networks of the zoo."""
