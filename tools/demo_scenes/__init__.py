# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""How a road scene is drawn: one module for each thing that is to be seen.

``world`` draws the street, its light and its lens from a seed, ``camera`` projects, ``canvas``
paints picture and labels together, ``population`` decides what stands where, and ``sensor``
makes the photograph. Everything else knows what one kind of thing looks like.

World axes follow REP-103: x forward along the street, y left, z up, in metres, z = 0 on the
ground. Street coordinates (s, d) are the position along x and the offset to the left of the
street's centre line, in metres. Colours are BGR in 0..255. Sizes, colours and frequencies for
which no source is named were chosen by eye, to look plausible.
"""
