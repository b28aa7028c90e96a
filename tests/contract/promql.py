"""What PromQL expressions ask for, read from a parser's tree: metrics, labels, and the labels of what they answer.

A selector of a metric that does not exist, a label that it does not have or a value that the label never takes are not
errors in PromQL: they answer nothing, and an alert that answers nothing is silent for ever.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql

Series = Mapping[str, Mapping[str, frozenset[str] | None]]
"""Metrics, their labels, and the values of each; None where the set is not closed."""

Labels = frozenset[str]

NO_LABELS: Labels = frozenset()


class Wrong(Exception):
    """An expression asks for what is not there."""


def labels_of(expression: str, series: Series) -> Labels:
    """The labels of what an expression answers, once all that it asks for was found. ValueError where it is none."""
    return _labels(promql.parse(expression), series)


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return {str(node.name) for node in _nodes(promql.parse(expression)) if isinstance(node, promql.VectorSelector)}


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    match node:
        case promql.MatrixSelector():
            yield from _nodes(node.vector_selector)
        case promql.BinaryExpr():
            yield from _nodes(node.lhs)
            yield from _nodes(node.rhs)
        case promql.Call():
            for argument in node.args:
                yield from _nodes(argument)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _nodes(node.expr)
        case _:
            pass  # a number, a text


def _labels(node: Any, series: Series) -> Labels:
    match node:
        case promql.VectorSelector():
            return _selected(node, series)
        case promql.MatrixSelector():
            return _selected(node.vector_selector, series)
        case promql.NumberLiteral() | promql.StringLiteral():
            return NO_LABELS
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr, series)
        case promql.AggregateExpr():
            return _aggregated(node, series)
        case promql.BinaryExpr():
            return _joined(node, series)
        case promql.Call():
            return _called(node, series)
        case _:
            raise Wrong(f"{type(node).__name__} is not known here")


def _selected(node: Any, series: Series) -> Labels:
    labels = series.get(node.name)
    if labels is None:
        raise Wrong(f"there is no metric {node.name!r}")
    if node.matchers.or_matchers:
        raise Wrong(f"{node.name}: alternatives of matchers are newer than the Prometheus that is supported")
    for matcher in node.matchers.matchers:
        if matcher.name not in labels:
            raise Wrong(f"{node.name} has no label {matcher.name!r}")
        values = labels[matcher.name]
        if values is None:
            continue
        plain = matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual)
        for value in [matcher.value] if plain else matcher.value.split("|"):
            pattern = re.escape(value) if plain else value
            if not any(re.fullmatch(pattern, known) for known in values):
                raise Wrong(f"{node.name}: label {matcher.name!r} is never {value!r}")
    return frozenset(labels)


def _aggregated(node: Any, series: Series) -> Labels:
    inner = _labels(node.expr, series)
    if node.modifier is None:
        return NO_LABELS
    named = frozenset(node.modifier.labels)
    if missing := named - inner:
        raise Wrong(f"grouped by {', '.join(sorted(missing))}, which is not there: {node.expr}")
    return named if node.modifier.type == promql.AggModifierType.By else inner - named


def _joined(node: Any, series: Series) -> Labels:
    left, right = _labels(node.lhs, series), _labels(node.rhs, series)
    if _is_scalar(node.lhs) or _is_scalar(node.rhs):
        return left | right
    both, operator = left | right, str(node.op)
    modifier = node.modifier
    matching = modifier.matching if modifier is not None else None
    if matching is not None:
        named = frozenset(matching.labels)
        by_these = matching.type == promql.LabelModifierType.Include
        if missing := named - (left & right if by_these else both):
            raise Wrong(f"joined on {', '.join(sorted(missing))}, which one side has not: {node}")
        keys = named if by_these else both - named
    else:
        keys = both
        if operator != "or" and left != right:
            raise Wrong(f"joined without `on`, and the sides have other labels: {sorted(left)}, {sorted(right)}")
    if operator in {"and", "unless"}:
        return left
    return both if operator == "or" or matching is None else keys


def _called(node: Any, series: Series) -> Labels:
    labels = [_labels(argument, series) for argument in node.args]
    found = frozenset().union(*labels) if labels else NO_LABELS
    if node.func.name == "histogram_quantile":
        if "le" not in found:
            raise Wrong("histogram_quantile needs `le`")
        return found - {"le"}
    if node.func.name == "absent":
        [wanted] = node.args
        return frozenset(each.name for each in wanted.matchers.matchers if each.op == promql.MatchOp.Equal)
    return found


def _is_scalar(node: Any) -> bool:
    return isinstance(node, promql.NumberLiteral) or (isinstance(node, promql.ParenExpr) and _is_scalar(node.expr))
