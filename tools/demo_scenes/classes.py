# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The classes that the scenes' ground truth tells apart."""

from trt_segmentation.demo.clip import LABELS

COLORS = ((70, 130, 180), (107, 142, 35), (70, 70, 70), (128, 64, 128), (255, 221, 51),
          (0, 0, 142), (220, 20, 60))
"""RGB colour of each class, 0..255: Cityscapes' where it has the class."""

SKY, VEGETATION, BUILDING, ROAD, MARKING, VEHICLE, PERSON = range(len(LABELS))
