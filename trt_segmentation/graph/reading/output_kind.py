# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the kind of an output's values from the graph, else from a measurement."""

import logging
from dataclasses import dataclass, replace

from onnx import TensorProto

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.kind_rules import SOFTMAX_OF_ONE_AXIS
from trt_segmentation.graph.analysis.measurement import Measurement, Probe, measurement_of
from trt_segmentation.graph.analysis.value_kind import UNDECIDED, Meaning
from trt_segmentation.graph.onnx_tools.network import FLOAT_TYPES, Network, TensorInfo, dtype_name
from trt_segmentation.graph.reading.output_form import Decoding, Form
from trt_segmentation.graph.reading.provenance import Ledger

logger = logging.getLogger(__name__)

INTEGER_OUTPUTS = (TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16,
                   TensorProto.INT16, TensorProto.UINT32, TensorProto.INT32, TensorProto.UINT64,
                   TensorProto.INT64)

_LINEAR_OPS = ('Conv', 'ConvTranspose', 'FusedConv', 'NhwcFusedConv', 'NhwcConv', 'QLinearConv',
               'ConvInteger', 'BatchNormalization', 'QLinearAdd')
"""Operators whose output is logits even with one channel."""


@dataclass(frozen=True)
class FoundOutput:
    """The output that is used.

    Attributes:
        network, output: the output, and its network.
        form: its layout.
        meaning: of its values, according to the graph.
    """

    network: Network
    output: TensorInfo
    form: Form
    meaning: Meaning

    @property
    def is_integer(self) -> bool:
        """Whether its type is an integer type or bool."""
        return self.output.dtype not in FLOAT_TYPES

    @property
    def is_one(self) -> bool:
        """Whether each pixel has one value."""
        return self.form.channels == 1

    @property
    def text(self) -> str:
        """The start of a message about it."""
        return f'{self.network.source}: output {self.output}'


def decided(meaning: Meaning, output: TensorInfo, form: Form) -> Meaning:
    """Return a meaning, or ``UNDECIDED`` if the graph does not determine it for this form."""
    is_integer = output.dtype not in FLOAT_TYPES
    if meaning.kind == 'logits' and is_integer and meaning.is_unscaled:
        return UNDECIDED  # truncated numbers, such as computed ids
    if meaning.kind == 'logits' and form.channels == 1 and (
            meaning.one_sided or meaning.made_by not in _LINEAR_OPS):
        return UNDECIDED
    is_signed = meaning.made_by in ('Tanh', 'Erf', 'Softsign') and not meaning.is_unscaled
    if is_signed and form.channels != 1:
        return Meaning('logits', meaning.made_by)
    return meaning


def resolve_kind(found: FoundOutput, given: str | None, ledger: Ledger, probe: Probe | None,
                 ) -> tuple[str, Decoding]:
    """Return the kind of an output, one of ``model_config.KINDS``, and the decoding of its values.

    Args:
        found: the output.
        given: ``output.kind`` of the config; None if not set.
        ledger: records the kind.
        probe: runs the network if its graph does not determine the kind; None disables this.

    Raises:
        ConfigError: ``given`` contradicts the graph or the values.
        ModelError: such values do not give a class for each pixel.
    """
    meaning = decided(found.meaning, found.output, found.form)
    found = replace(found, meaning=meaning)
    if found.output.dtype not in (*FLOAT_TYPES, *INTEGER_OUTPUTS):
        raise ModelError(f'{found.text} is neither scores (float) nor ids (integers or bool)')
    if given is None:
        _check_meaning(found)
    _check_softmax(found)
    if meaning.kind not in ('', *_NO_KINDS):
        kind, origin = _kind_of_graph(found, probe if given is None else None)
        _check_config(found, given, kind)
        decoding = _decoding(meaning, given or kind)
    else:
        kind, origin, decoding = _measured_kind(found, given, probe)
    if kind == 'ids' and not found.is_one:
        raise ModelError(f'{found.text} has {found.form.channels} channels of integers; class ids '
                         'have one')
    return ledger.resolve('output.kind', given, lambda: kind, origin), decoding


_NO_KINDS = 'confidence', 'cost', 'mixture'
"""Kinds of a ``Meaning`` that are none of a config."""


def _check_meaning(found: FoundOutput) -> None:
    """Raise ModelError if the highest value of a pixel is not its most likely class."""
    meaning = found.meaning
    if meaning.kind == 'confidence':
        raise ModelError(f'{found.text} is the highest score of each pixel ({meaning.made_by} '
                         'over the classes), a confidence without its class; name another output '
                         'as output.name, export the scores or their ArgMax, or set output.kind '
                         'if it is a foreground')
    if _are_costs(found):
        raise ModelError(f'{found.text} is lowest for the most likely class: 1 minus the '
                         'probabilities of a Softmax, or minus their logarithms; export the '
                         'probabilities, or set output.kind if the highest value decides')
    if meaning.kind == 'mixture' and not meaning.is_part:
        raise ModelError(f'{found.text} joins class ids and other values, such as their scores, '
                         'as channels of one output; export the ids as an output of their own, '
                         'or set output.kind if these are scores of classes')


def _are_costs(found: FoundOutput) -> bool:
    """Whether the lowest value of several classes decides. Of two classes, 1 - p is the other."""
    meaning, channels = found.meaning, found.form.channels or 0
    is_inverted = meaning.kind == 'probabilities' and meaning.flipped and not meaning.is_part
    return channels > 1 and (meaning.kind == 'cost' or (is_inverted and channels > _BOTH))


_BOTH = 2


def _check_softmax(found: FoundOutput) -> None:
    """Check that a Softmax, or what else gives probabilities that sum to 1, is over the classes.

    Raises:
        ModelError: it is over another axis, or over one class.
    """
    meaning, rank = found.meaning, len(found.output.shape or ())
    classes = found.form.class_axis(rank)
    if meaning.kind != 'probabilities' or meaning.axis is None or classes is None:
        return
    if (axis := meaning.axis % rank) != classes:
        raise ModelError(f'{found.text} comes from a {meaning.made_by} over axis {axis}, but its '
                         f'classes are along axis {classes}, so its values are not the '
                         'probabilities of classes; export it over the classes, or export the '
                         'scores before it')
    if found.is_one and not meaning.is_part:
        raise ModelError(f'{found.text} comes from a {meaning.made_by} over one class, which is '
                         'the same everywhere; export a Sigmoid instead, or the score before it')


def _kind_of_graph(found: FoundOutput, probe: Probe | None) -> tuple[str, str]:
    """Return the kind of values whose meaning the graph determines, and its origin."""
    meaning = found.meaning
    if meaning.kind == 'ids' and not found.is_one and meaning.largest == 1:
        return 'sigmoid', 'graph'  # a threshold for each class
    if meaning.kind == 'probabilities' and not found.is_one:
        if meaning.log:
            return 'logits', 'graph'  # their softmax gives the probabilities
        is_softmax = meaning.made_by == 'Softmax' and found.network.opset >= SOFTMAX_OF_ONE_AXIS
        if (meaning.is_part or (meaning.axis is None and is_softmax)) and (
                measured := _measured(found, meaning.kind, probe)):
            return _kind_of_sums(found, measured)
    return meaning.kind, 'graph'


def _kind_of_sums(found: FoundOutput, measured: Measurement) -> tuple[str, str]:
    """Return the kind of probabilities that may lack a class, or be of another axis."""
    if not measured.sums_to_one and not found.meaning.is_part:
        raise ModelError(f'{found.text} comes from a Softmax, but was measured: {measured}, '
                         'without sums of 1 over the classes, so it is over another axis; export '
                         'it over the classes, or export the scores before it')
    # Without some of the classes, such as the background, a pixel may have none of the others.
    return 'probabilities' if measured.sums_to_one else 'sigmoid', f'measured ({measured})'


def _decoding(meaning: Meaning, kind: str) -> Decoding:
    plain = Decoding() if meaning.is_unscaled else Decoding(meaning.scale, meaning.offset)
    return replace(plain, exponential=meaning.log and kind != 'logits')


def _check_config(found: FoundOutput, given: str | None, kind: str) -> None:
    """Raise ConfigError if the config contradicts the graph."""
    if given is None or given == kind:
        return
    if (given == 'ids') != (kind == 'ids'):
        raise _wrong_type(found, given, f'class ids of {found.meaning.made_by}'
                          if kind == 'ids' else '')
    are_logits = (found.meaning.made_by in ('Conv', 'ConvTranspose')
                  and not found.meaning.one_sided)
    if given in ('probabilities', 'sigmoid') and are_logits:
        raise ConfigError(f'{found.network.source}: output.kind is {given}, but output '
                          f'{found.output} is that of a {found.meaning.made_by}; '
                          'these are logits')
    if given == 'logits' and found.is_one and kind != 'logits':
        raise ConfigError(f'{found.network.source}: output.kind is logits, but output '
                          f'{found.output} comes from a {found.meaning.made_by}; these are '
                          f'{kind}')


def _wrong_type(found: FoundOutput, given: str, holds: str = '') -> ConfigError:
    return ConfigError(f'{found.network.source}: output.kind is {given}, but output '
                       f'{found.output} holds {holds or dtype_name(found.output.dtype)}'
                       f'{"" if holds else " values"}')


_KindResult = tuple[str, str, Decoding]
"""Kind, origin and decoding of values."""


def _measured_kind(found: FoundOutput, given: str | None, probe: Probe | None) -> _KindResult:
    """Return the kind of values whose meaning the graph does not determine."""
    is_bool = found.output.dtype == TensorProto.BOOL and found.is_one
    measured = None if is_bool or found.form.channels is None else _measured(found, given, probe)
    encoded = _encoded(measured) if measured and found.is_one else None
    if measured and encoded and given in (None, encoded[0]):
        return encoded[0], f'measured ({measured})', encoded[1]
    if given is not None:
        if found.is_integer and found.is_one and given != 'ids':
            raise _wrong_type(found, given)
        if measured:
            _check_measured(found, given, measured)
        return given, 'config', Decoding()
    if measured is None:
        return ('ids', 'graph', Decoding()) if found.is_integer else \
            ('logits', 'assumed', Decoding())
    return (_kind_of_one if found.is_one else _kind_of_several)(found, measured)


def _measured(found: FoundOutput, given: str | None, probe: Probe | None) -> Measurement | None:
    """Return the measurement of the values; None if there is none or it shows nothing."""
    if probe is None:
        return None
    form, size = found.form, probe.size
    measured = probe.measurement(
        found.output.name, str(form),
        lambda values: measurement_of(form.arranged(values, size), form.axis))
    is_assumed = given is None and not found.is_integer
    if probe.fault:
        if is_assumed:  # if ONNX Runtime fails, another backend may run the network
            _warn(found, f'could not be measured ({probe.fault})', 'logits',
                  logging.WARNING if probe.is_missing else logging.DEBUG)
        return None
    if measured is None or measured.is_constant:
        if is_assumed:
            _warn(found, 'has only one value on a test image' if measured else
                  'has no finite value on a test image', 'logits')
        return None
    return measured


def _encoded(measured: Measurement) -> tuple[str, Decoding] | None:
    """Return the kind and decoding of scaled ids or probabilities; None for others."""
    if measured.two == (0, 255):
        return 'ids', Decoding(scale=255.0)
    if measured.two == (-1, 1):
        return 'ids', Decoding(scale=2.0, offset=-1.0)
    return ('sigmoid', Decoding(scale=255.0)) if measured.are_bytes else None


def _kind_of_one(found: FoundOutput, measured: Measurement) -> _KindResult:
    """Return the kind of an output with one value for each pixel."""
    origin = f'measured ({measured})'
    if found.is_integer or (measured.integers and measured.lowest >= -1):
        if measured.are_many:
            return _assumed(found, 'ids', measured, 'too many different values for classes')
        return 'ids', origin, Decoding()
    if measured.are_probabilities:
        if measured.lowest < 0.5 <= measured.highest:
            return 'sigmoid', origin, Decoding()
        return _assumed(found, 'sigmoid', measured, 'all on one side of 0.5')
    if measured.lowest >= 0:
        raise ConfigError(f'{found.text} has values from {measured.lowest:.4g} to '
                          f'{measured.highest:.4g} on a test image, which are not '
                          'probabilities, not class ids, and not logits, since they are never '
                          'negative; a depth or a distance is no segmentation. If it is a '
                          'segmentation, set output.kind, else name another output as output.name')
    if measured.is_mostly_one_sign:
        return _assumed(found, 'logits', measured, 'almost all on one side of 0')
    return 'logits', origin, Decoding()


def _kind_of_several(found: FoundOutput, measured: Measurement) -> _KindResult:
    """Return the kind of an output with a value for each class and pixel."""
    origin = f'measured ({measured})'
    if not measured.sums_to_one and (what := _picture(found, measured)):
        raise ModelError(f'{found.text} was measured: {measured}; these are the values of {what}; '
                         'or set output.kind if they are scores')
    if measured.are_within_0_and_1:
        if measured.sums_to_one:
            return 'probabilities', origin, Decoding()
        if measured.highest < 0.5:
            return _assumed(found, 'sigmoid', measured, 'all below 0.5')
        return 'sigmoid', origin, Decoding()
    if found.is_integer:
        return _assumed(found, 'logits', measured, 'integers in several channels')
    return 'logits', origin, Decoding()


_COLOURS = 3


def _picture(found: FoundOutput, measured: Measurement) -> str:
    """What three channels show that are no scores, and what to do; '' for others."""
    if found.form.channels != _COLOURS:
        return ''
    are_colours = measured.lowest >= 0 and measured.two != (0, 1) and not measured.are_many
    if found.output.dtype == TensorProto.UINT8 or are_colours:
        return 'an image of class colours: export the network without the colours'
    if measured.are_unit_vectors:
        return 'normals, of length 1 at each pixel: name another output as output.name'
    return ''


def _assumed(found: FoundOutput, kind: str, measured: Measurement, why: str) -> _KindResult:
    _warn(found, f'was measured: {measured}, {why}', kind)
    return kind, 'assumed', Decoding()


def _warn(found: FoundOutput, what: str, kind: str, level: int = logging.WARNING) -> None:
    """Log that a kind is assumed."""
    logger.log(level, '%s %s. The graph does not determine what its values mean; they are '
               'assumed to be %s. Write output.kind into the model config', found.text, what, kind)


def _check_measured(found: FoundOutput, given: str, measured: Measurement) -> None:
    """Compare the config with the measured values."""
    fault = ''
    if given == 'ids' and not measured.integers:
        fault = 'class ids are integers'
    elif given in ('probabilities', 'sigmoid') and not measured.are_within_0_and_1:
        fault = 'probabilities are within 0 and 1'
    elif given == 'logits' and found.is_one and measured.are_probabilities:
        fault = 'logits have both signs'
    if fault:
        raise ConfigError(f'{found.network.source}: output.kind is {given}, but output '
                          f'{found.output} was measured: {measured}; {fault}')
    if given == 'logits' and found.is_one and measured.lowest >= 0:
        logger.warning('%s: output.kind is logits, but its values were measured: %s. Logits '
                       'have both signs; check whether it is sigmoid or ids', found.text, measured)
