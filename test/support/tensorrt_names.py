# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a package takes from TensorRT, read off its sources.

A path is a name of TensorRT's module and what is taken from it, such as 'BuilderFlag.TF32', or
from its objects, such as 'ICudaEngine.get_tensor_mode().name'. A variable stands for what it was
last assigned, a container for what it holds. What is under ``if can.strongly_typed`` or
``if hasattr(error, 'node_name')`` is needed only of a version for which that holds, and so is what
is in functions that are only called from there.

Not seen are names that are put together at run time (``getattr(flags, name)``), and what comes out
of functions of the package.
"""

import ast
from dataclasses import dataclass, field

OBJECTS = {'trt': '', 'builder': 'Builder', 'config': 'IBuilderConfig',
           'context': 'IExecutionContext', 'engine': 'ICudaEngine', 'error': 'ParserError',
           'layer': 'ILayer', 'network': 'INetworkDefinition', 'parser': 'OnnxParser',
           'runtime': 'Runtime', 'severity': 'ILogger.Severity'}
"""The classes of parameters and fields that are annotated as Any, by their names."""


@dataclass(frozen=True)
class Use:
    """Something taken from TensorRT.

    Attributes:
        path: see the module.
        function: the package's function in which it is.
        guards: what holds there: (kind, name, whether so), where kind is 'can', of
            ``Capabilities``, or 'has', of a path.
    """

    path: str
    function: str
    guards: frozenset


@dataclass
class Reader(ast.NodeVisitor):
    """Goes through sources.

    Attributes:
        fields: those annotated as Any, by class in lower case, so that ``stage.engine`` is one.
        uses: what was found.
        calls: of each function, from where it is called: function and guards.
        named: all parameters and fields that are annotated as Any.
    """

    fields: dict = field(default_factory=dict)
    uses: list = field(default_factory=list)
    calls: dict = field(default_factory=dict)
    named: set = field(default_factory=set)
    _scope: dict = field(default_factory=dict)
    _guards: tuple = ()
    _function: str = ''
    _class: str = ''

    @classmethod
    def of(cls, *sources):
        """Read Python sources that belong together."""
        reader, trees = cls(), [ast.parse(source) for source in sources]
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    reader.fields[node.name.lower()] = {
                        each.target.id for each in node.body
                        if isinstance(each, ast.AnnAssign) and _is_any(each.annotation)}
        for tree in trees:
            reader._scope = {}
            reader.visit(tree)
        return reader

    def needed(self, has, capabilities):
        """Return the paths that a version of TensorRT needs.

        Args:
            has: which paths there are, those of guards among them.
            capabilities: of that version, by name.
        """
        def holds(guards):
            return all(bool(capabilities[name] if kind == 'can' else has[name]) is wanted
                       for kind, name, wanted in guards)

        def is_live(function):
            calls = self.calls.get(function)
            return not calls or any(holds(guards) and is_live(caller) for caller, guards in calls)

        return {use.path for use in self.uses if holds(use.guards) and is_live(use.function)}

    def paths(self):
        """Return all paths, those of guards among them."""
        guards = {name for use in self.uses for kind, name, _ in use.guards if kind == 'has'}
        return {use.path for use in self.uses} | guards

    # What an expression is ---------------------------------------------------------------------

    def path_of(self, node):
        """Return the path of an expression; None where it is nothing of TensorRT's."""
        if isinstance(node, ast.Name):
            return self._scope.get(node.id)
        if isinstance(node, ast.Attribute):
            if node.attr in self.fields.get(self._class_of(node.value), ()):
                return OBJECTS.get(node.attr)
            return _joined(self.path_of(node.value), node.attr)
        if isinstance(node, ast.Call):
            return self._result_of(node)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            return self.path_of(node.elt)
        if isinstance(node, ast.Starred | ast.Subscript):
            return self.path_of(node.value)
        if isinstance(node, ast.Tuple | ast.List):
            found = (self.path_of(each) for each in node.elts)
            return next((path for path in found if path is not None), None)
        return None

    def _result_of(self, node):
        name = ast.unparse(node.func)
        if name == 'find_tensorrt':
            return ''
        if name in ('enumerate', 'zip'):
            return self.path_of(node.args[0])
        called = node.func
        if name == 'map':
            called = node.args[0]
        elif name.endswith('log.call'):
            called = node.args[1]
        path = self.path_of(called)
        return None if path is None else f'{path}()'

    def _class_of(self, node):
        name = getattr(node, 'id', getattr(node, 'attr', '')).strip('_')
        return self._class if name == 'self' else name

    def _bind(self, target, path):
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._scope[node.id] = path

    # What there is -----------------------------------------------------------------------------

    def visit_Attribute(self, node):
        self.generic_visit(node)
        path = self.path_of(node)
        if path is not None and self.path_of(node.value) is not None:
            self._use(path)

    def _use(self, path):
        self.uses.append(Use(path, self._function, frozenset(self._guards)))

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name):
            self.calls.setdefault(node.func.id, []).append((self._function, self._guards))

    def visit_Assign(self, node):
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for each, value in zip(target.elts, node.value.elts, strict=True):
                    self._bind(each, self.path_of(value))
            else:
                self._bind(target, self.path_of(node.value))

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        path = None if node.value is None else self.path_of(node.value)
        self._bind(node.target, path)
        if _is_any(node.annotation) and path is None:
            self.named.add(ast.unparse(node.target).removeprefix('self.').strip('_'))

    def visit_For(self, node):
        self.visit(node.iter)
        self._bind(node.target, self.path_of(node.iter))
        self._visit_all([*node.body, *node.orelse])

    def visit_ListComp(self, node):
        for generator in node.generators:
            self.visit(generator.iter)
            self._bind(generator.target, self.path_of(generator.iter))
        self.generic_visit(node)

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815

    def visit_If(self, node):
        self.visit(node.test)
        self._visit_all(node.body, self._terms(node.test))
        self._visit_all(node.orelse, self._terms(ast.UnaryOp(ast.Not(), node.test)))

    visit_IfExp = visit_If  # noqa: N815

    def _visit_all(self, nodes, terms=()):
        outer, self._guards = self._guards, (*self._guards, *terms)
        for node in nodes if isinstance(nodes, list) else [nodes]:
            self.visit(node)
        self._guards = outer

    def _terms(self, test):
        """Return what a condition says of the version; see ``Use.guards``."""
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return [term for value in test.values for term in self._terms(value)]
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            terms = [] if isinstance(test.operand, ast.BoolOp) else self._terms(test.operand)
            return [(kind, name, not wanted) for kind, name, wanted in terms]
        if isinstance(test, ast.Attribute) and ast.unparse(test.value) == 'can':
            return [('can', test.attr, True)]
        if isinstance(test, ast.Call) and ast.unparse(test.func) == 'hasattr':
            path = self.path_of(test.args[0])
            if path is not None and isinstance(test.args[1], ast.Constant):
                return [('has', _joined(path, test.args[1].value), True)]
        return []

    def visit_FunctionDef(self, node):
        outer = self._scope, self._function, self._guards
        self._scope, self._guards = dict(self._scope), ()
        self._function = self._function or node.name
        every = (*node.args.posonlyargs, *node.args.args, node.args.vararg, *node.args.kwonlyargs)
        for each in filter(None, every):
            self._scope[each.arg] = OBJECTS.get(each.arg) if _is_any(each.annotation) else None
            if _is_any(each.annotation):
                self.named.add(each.arg)
        self.generic_visit(node)
        self._scope, self._function, self._guards = outer

    def visit_ClassDef(self, node):
        outer, self._class = self._class, node.name.lower()
        for base in filter(None, map(self.path_of, node.bases)):
            for each in node.body:  # what TensorRT calls
                if isinstance(each, ast.FunctionDef) and not each.name.startswith('_'):
                    self._use(_joined(base, each.name))
        self.generic_visit(node)
        self._class = outer

def _is_any(annotation):
    return annotation is not None and ast.unparse(annotation) == 'Any'


def _joined(path, name):
    return None if path is None else f'{path}.{name}'.removeprefix('.')
