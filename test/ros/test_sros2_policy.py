# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""config/sros2_policy.xml allows exactly the topics and services of the running node."""

import functools
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trt_segmentation.ros import label_info

POLICY = Path(__file__).parents[2] / 'config' / 'sros2_policy.xml'

NOT_EVERYWHERE = {'~/get_type_description'}
"""Names that are missing on Humble."""

SCHEMA = {
    'policy': ({'version'}, {'enclaves'}), 'enclaves': (set(), {'enclave'}),
    'enclave': ({'path'}, {'profiles'}), 'profiles': (set(), {'profile'}),
    'profile': ({'ns', 'node'}, {'topics', 'services'}),
    'topics': ({'publish', 'subscribe'}, {'topic'}),
    'services': ({'reply', 'request'}, {'service'}),
    'topic': (set(), set()), 'service': (set(), set())}
"""Attributes and children by element, of sros2/policy/schemas/policy.xsd, as far as they are
used here."""


@pytest.fixture(scope='module')
def policy():
    return ElementTree.parse(POLICY).getroot()


@pytest.fixture(scope='module')
def spotted(networks, tmp_path_factory):
    """The path of a network of instances."""
    return networks.save_with_config(
        networks.spotted((32, 48)), tmp_path_factory.mktemp('spotted') / 'net.onnx',
        output={'kind': 'instances'}, classes={'labels': ['car', 'bus', 'person']})


@pytest.fixture(scope='module')
def found(make_module_bench, spotted):
    """The entities of nodes with every option but points, several cameras and tasks, by kind,
    with names as in a policy."""
    if label_info.LabelInfo is None:
        pytest.skip('vision_msgs is not installed, so the node has no ~/label_info')
    from lifecycle_msgs.msg import Transition  # the test of the schema needs no ROS
    found = {'publish': set(), 'subscribe': set(), 'reply': set(), 'request': set()}
    everything = {'input_transport': 'compressed', 'mask_height': 32, 'mask_width': 64,
                  'use_sim_time': True}
    managed = {'autostart': False, 'engine_path': spotted, 'instances': True, 'measure': False}
    for parameters in ({}, everything, managed):
        bench = make_module_bench(**parameters)
        bench.spin_until(functools.partial(is_known, bench.node, bench.namespace), 'the node')
        if parameters is managed:
            assert bench.transition(Transition.TRANSITION_CONFIGURE)
            assert bench.transition(Transition.TRANSITION_ACTIVATE)
        # Before, a slow start looks as settled as the end.
        bench.spin_until(functools.partial(is_active, bench), 'its activation')
        for kind, names in settled_entities(bench).items():
            found[kind] |= names
    return found


def is_known(node, namespace):
    """Return whether the node in a namespace has been discovered."""
    return ('segmentation', namespace) in node.get_node_names_and_namespaces()


def is_active(bench):
    return bench.state() == 'active'


def settled_entities(bench):
    """Return ``entities`` once no more are discovered."""
    before, now = None, {}
    while now != before:
        before = now
        bench.spin_for(0.5)
        now = entities(bench.node, bench.namespace)
    return now


def entities(node, namespace):
    """Return the names of the entities of the node in a namespace, by kind."""
    lists = {'publish': node.get_publisher_names_and_types_by_node,
             'subscribe': node.get_subscriber_names_and_types_by_node,
             'reply': node.get_service_names_and_types_by_node,
             'request': node.get_client_names_and_types_by_node}
    return {kind: {relative(name, namespace) for name, _ in names('segmentation', namespace)}
            for kind, names in lists.items()}


def relative(name, namespace):
    """Return a resolved name as it stands in the policy."""
    own = f'{namespace}/segmentation/'
    if name.startswith(own):
        return f'~/{name.removeprefix(own)}'
    return name.removeprefix(f'{namespace}/')


def allowed(policy, kind):
    return {element.text for group in policy.iter() if group.get(kind) == 'ALLOW'
            for element in group}


def without_packages():
    """Return the names that need packages which are not installed."""
    from trt_segmentation.ros import bond, detections
    return {name for name, message in (('bond', bond.Status), (
        '~/detections', detections.Detection2DArray)) if message is None}


@pytest.mark.parametrize('kind', ['publish', 'subscribe', 'reply', 'request'])
def test_what_the_node_has_is_allowed_and_nothing_else(policy, found, kind):
    assert found[kind] - allowed(policy, kind) == set()
    assert allowed(policy, kind) - found[kind] <= NOT_EVERYWHERE | without_packages()


def test_elements_are_those_of_the_schema(policy):
    assert policy.attrib == {'version': '0.2.0'}
    for element in policy.iter():
        attributes, children = SCHEMA[element.tag]
        assert set(element.attrib) <= attributes
        assert {child.tag for child in element} <= children
        assert bool(children) == (len(element) > 0)
