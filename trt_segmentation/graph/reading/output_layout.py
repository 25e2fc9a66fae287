# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the layout of an output from the graph, else from one run of the network."""

import logging
from dataclasses import dataclass, replace

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.measurement import Probe
from trt_segmentation.graph.analysis.value_kind import Meaning
from trt_segmentation.graph.onnx_tools.network import FLOAT_TYPES, Network, Shape, TensorInfo
from trt_segmentation.graph.reading.dual_outputs import Size, input_size
from trt_segmentation.graph.reading.input_layout import CHANNEL_AXIS
from trt_segmentation.graph.reading.other_outputs import (
    NO_MAPS,
    is_other_output,
    lane_anchor_text,
    output_hint,
)
from trt_segmentation.graph.reading.output_form import (
    LARGEST_STRIDE,
    Form,
    find_forms,
    fits_fraction,
)
from trt_segmentation.graph.reading.provenance import Ledger
from trt_segmentation.model_config import ModelConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenOutput:
    """The output that is used, with its config.

    Attributes:
        network, output: the output, and its network.
        input_layout: 'nchw' or 'nhwc'.
        config: of the network.
    """

    network: Network
    output: TensorInfo
    input_layout: str
    config: ModelConfig

    @property
    def layout(self) -> str | None:
        """``output.layout`` of the config; None if not set."""
        return self.config.output.layout

    @property
    def text(self) -> str:
        """The start of a message about the output."""
        return f'{self.network.source}: output {self.output}'


def resolve_form(chosen: ChosenOutput, meaning: Meaning, ledger: Ledger, probe: Probe | None,
                 ) -> Form:
    """Return the layout of an output.

    Args:
        chosen: the output.
        meaning: of its values, according to the graph.
        ledger: records the layout.
        probe: runs the network if the output's shape is dynamic; None disables this.

    Raises:
        ConfigError: the config has another layout than the output.
        ModelError: it is no map of classes.
    """
    shape, fed = chosen.output.shape, input_size(chosen.network, chosen.input_layout)
    is_measured = False
    if probe is not None:
        _check_count(chosen, probe)
    if probe is not None and not _shape_is_sufficient(chosen, shape, fed, meaning) \
            and (found := probe.shape(chosen.output.name)) is not None:
        shape, fed, is_measured = found, probe.size, True
    if shape is None:
        raise ModelError(f'{chosen.network.source}: the rank of output {chosen.output} is not '
                         'known; export the network with fixed shapes')
    form = _form(chosen, shape, fed, meaning, ledger)
    _warn_of_border(chosen, form, fed)
    if is_measured and None in input_size(chosen.network, chosen.input_layout):
        return form.with_dynamic_size()
    if chosen.output.shape is None:
        return replace(form, steps=(*form.steps, ('declare', ())))
    return form


def _check_count(chosen: ChosenOutput, probe: Probe) -> None:
    """Check that an output [?, h, w] is one map, and not one for each object that is seen.

    Raises:
        ModelError: it is not.
    """
    shape = chosen.output.shape or ()
    if len(shape) != 3 or shape[0] is not None or None in shape[1:]:
        return
    found = probe.shape(chosen.output.name)
    if found is not None and found[0] != 1:
        raise ModelError(f'{chosen.text} has {found[0]} maps on a test image, and the graph '
                         'leaves their number open, as for masks of objects; scores of a fixed '
                         'number of classes are needed: export it with fixed shapes')


def _shape_is_sufficient(chosen: ChosenOutput, shape: Shape | None, fed: Size, meaning: Meaning,
                         ) -> bool:
    """Whether the shape determines the layout."""
    if shape is None or None not in shape[1:]:
        return shape is not None
    if len(shape) != 4:
        return bool(_other_forms(chosen, shape, fed, meaning))
    likely = _layouts(shape, fed, chosen.input_layout, meaning)
    return bool(likely) and shape[CHANNEL_AXIS[likely[0]]] is not None


def _form(chosen: ChosenOutput, shape: Shape, fed: Size, meaning: Meaning, ledger: Ledger) -> Form:
    """Return the form of an output of this shape."""
    is_chosen = chosen.config.output.name is not None or chosen.config.output.kind is not None
    if is_other_output(chosen.output) and not is_chosen:
        raise ModelError(f'{chosen.text} is no segmentation by its name; scores or class ids of '
                         'each pixel are needed. If it holds them, set output.kind, else name '
                         'another output as output.name'
                         f'{output_hint(chosen.output, fed)}')
    if len(shape) != 4 or shape[0] not in (None, 1):
        forms = _other_forms(chosen, shape, fed, meaning)
        if forms:
            return _choose_form(chosen, forms, meaning, ledger)
    if len(shape) != 4:
        hint = _cells_hint(shape, fed) or output_hint(chosen.output, fed)
        raise ModelError(f'{chosen.text} is no segmentation; scores [1, classes, height, width] '
                         'or integer ids [1, height, width] with the aspect ratio of the input '
                         f'are needed{hint}')
    if shape[0] not in (None, 1):
        raise ModelError(f'{chosen.text} has a batch of {shape[0]}, not 1')
    axis = CHANNEL_AXIS[_layout(chosen, shape, fed, meaning, ledger)]
    _check_is_map(chosen, shape, axis)
    if shape[axis] is None:
        raise ModelError(f'{chosen.text} has a dynamic number of classes; export the network '
                         'with fixed shapes')
    return Form(shape[axis], axis, shape)


def _warn_of_border(chosen: ChosenOutput, form: Form, fed: Size) -> None:
    """Log a warning if the output is smaller than the input, but not by a stride, as it is after
    convolutions without padding, which leave out the image's border."""
    first = 2 if form.axis == 1 else 1
    size = form.shape[first:first + 2]
    (height, width), (full_height, full_width) = size, fed
    if height is None or width is None or full_height is None or full_width is None:
        return
    if 1 in size or height >= full_height or fits_fraction(size, fed):
        return
    logger.warning('%s is %dx%d, which is not the size of the input, %dx%d, divided by a stride; '
                   'it is taken as a map of the whole image. If the network has convolutions '
                   'without padding or crops its output, the map shows the center only, and the '
                   'mask is wrong: export it with padding', chosen.text, width, height,
                   full_width, full_height)


def _layout_of(form: Form) -> str | None:
    return next((name for name, axis in CHANNEL_AXIS.items() if axis == form.axis), None)


def _cells_hint(shape: Shape, fed: Size) -> str:
    """The part of an error for rows that may be cells of the image; '' for other outputs."""
    form = next((form for form in find_forms(shape, fed) if form.may_be_objects), None)
    return '' if form is None else (
        f'; if it holds scores of {_cells_text(form)} cells of the image, and not the boxes of a '
        f'detection network, set output.layout: {_layout_of(form)}')


def _cells_text(form: Form) -> str:
    """Height and width of rows."""
    height, width = form.shape[2:] if form.axis == 1 else form.shape[1:3]
    return f'{height}x{width}'


def _choose_form(chosen: ChosenOutput, forms: list[Form], meaning: Meaning, ledger: Ledger,
                 ) -> Form:
    """Return the most likely form that matches the config."""
    fitting = [form for form in forms if chosen.layout in (None, _layout_of(form))]
    if not fitting:
        raise ConfigError(f'{chosen.network.source}: output.layout is {chosen.layout}, but output '
                          f'{chosen.output} fits {_layout_of(forms[0]) or "neither layout"}')
    if len({form.axis for form in fitting if form.channels != 1}) > 1:
        _warn_of_layout(chosen, 'nchw' if fitting[0].axis == 1 else 'nhwc', ledger)
    elif chosen.layout is not None:
        ledger.record('output.layout', chosen.layout, ledger.config_origin('output.layout'))
    elif (fitting[0].may_be_objects and chosen.config.output.kind is None
          and 'Conv' not in meaning.made_by):
        layout = ledger.record('output.layout', _layout_of(fitting[0]), 'assumed')
        logger.warning('%s is assumed to be scores of %s cells of the image, and not of the '
                       'objects of a detection network. Write output.layout: %s into the model '
                       'config', chosen.text, _cells_text(fitting[0]), layout)
    return fitting[0]


def _warn_of_layout(chosen: ChosenOutput, layout: str, ledger: Ledger) -> str:
    """Log and record that a layout is assumed."""
    logger.warning('%s fits both layouts, nchw and nhwc; %s is assumed. Write output.layout '
                   'into the model config', chosen.text, layout)
    return ledger.record('output.layout', layout, 'assumed')


def _other_forms(chosen: ChosenOutput, shape: Shape, fed: Size, meaning: Meaning) -> list[Form]:
    """Return the possible forms of an output without the usual four axes."""
    output = chosen.output
    forms = [] if is_other_output(output, NO_MAPS) else find_forms(shape, fed)
    is_chosen = chosen.layout is not None or chosen.config.output.kind is not None
    if not is_chosen and meaning.kind not in ('logits', 'probabilities'):
        forms = [form for form in forms if not form.may_be_objects]
    are_ids = output.dtype not in FLOAT_TYPES and meaning.kind in ('', 'ids')
    if are_ids:
        forms = [form for form in forms if form.channels == 1]
    is_flat = bool(forms) and forms[0].steps[0][0] == 'rows'
    if len(shape) == 3 and shape[0] in (None, 1) and not is_flat:
        is_map = _is_open_or_like(shape[1:], fed)
        if are_ids and (is_map or chosen.config.output.kind == 'ids'):
            return [Form(1, None, shape)]
        if not forms and is_map and meaning.kind in ('sigmoid', 'probabilities', 'ids'):
            return [Form(1, 1, (1, 1, *shape[1:]), (('unsqueeze', (1,)),))]
    return forms


def _layout(chosen: ChosenOutput, shape: Shape, fed: Size, meaning: Meaning, ledger: Ledger,
            ) -> str:
    """Return the layout of an output of four axes."""
    likely = _layouts(shape, fed, chosen.input_layout, meaning)
    if chosen.layout is not None:
        if likely and chosen.layout not in likely:
            raise ConfigError(f'{chosen.network.source}: output.layout is {chosen.layout}, but '
                              f'output {chosen.output} fits {likely[0]}')
        return ledger.record('output.layout', chosen.layout, ledger.config_origin('output.layout'))
    if not likely:
        what = lane_anchor_text(shape, fed) or (
            'in neither layout, nchw or nhwc, it has the aspect ratio of the input '
            f'({fed[0]}x{fed[1]}). If it is a segmentation, set output.layout')
        raise ModelError(f'{chosen.text} is no segmentation; {what}')
    open_ones = [layout for layout in likely if shape[CHANNEL_AXIS[layout]] is None]
    if _axis_of(meaning) is None and len(likely) - len(open_ones) > 1:
        return _warn_of_layout(chosen, likely[0], ledger)
    return ledger.record('output.layout', likely[0], 'graph')


def _axis_of(meaning: Meaning) -> int | None:
    """The class axis of four axes according to the graph; None if not known."""
    axis = None if meaning.axis is None else meaning.axis % 4
    return axis if axis in CHANNEL_AXIS.values() else None


def _layouts(shape: Shape, fed: Size, input_layout: str, meaning: Meaning) -> list[str]:
    """The layouts with the input's aspect ratio, the most likely one first."""
    likely = [input_layout, *(layout for layout in CHANNEL_AXIS if layout != input_layout)]
    # The number of classes is fixed: a layout with a dynamic one comes last.
    likely.sort(key=lambda layout: (CHANNEL_AXIS[layout] != _axis_of(meaning),
                                    not all(fed) and shape[CHANNEL_AXIS[layout]] is None))

    return [layout for layout in likely
            if _is_open_or_like(shape[2:] if layout == 'nchw' else shape[1:3], fed)]


def _is_open_or_like(size: Shape, fed: Size) -> bool:
    """Whether height and width may have the input's aspect ratio."""
    (height, width), (full_height, full_width) = size, fed
    if height is None or width is None or full_height is None or full_width is None:
        return True
    # Strides round: each extent may differ by one.
    return abs(height * full_width - width * full_height) <= max(full_height, full_width)


def _check_is_map(chosen: ChosenOutput, shape: Shape, axis: int) -> None:
    fed = chosen.network.inputs[0].shape or ()
    is_one_cell = (shape[2:] if axis == 1 else shape[1:3]) == (1, 1)
    if is_one_cell and max(extent or 0 for extent in fed) > LARGEST_STRIDE:
        raise ModelError(f'{chosen.text} is 1x1, one class for the whole image; a class for each '
                         'pixel is needed: export the network without its pooling, or name '
                         'another output as output.name')
