"""What an expression names, and which labels its result has, by the rules of PromQL."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

Labels = frozenset[str]
INCLUDE, EXCLUDE = promql.LabelModifierType.Include, promql.LabelModifierType.Exclude
BY = promql.AggModifierType.By
NONE: Labels = frozenset()


class WrongExpressionError(Exception):
    """An expression names a metric or a label that does not exist."""


@dataclass(frozen=True, slots=True)
class Known:
    """The metrics that exist, each with its labels."""

    metrics: Mapping[str, Labels]

    def labels_of(self, expression: str) -> Labels:
        """The labels of its result. Raises ValueError where it cannot be parsed."""
        return self._labels(promql.parse(expression))

    def selectors(self, expression: str) -> Iterator[promql.VectorSelector]:
        """Everything in it that selects series."""
        found: list[promql.VectorSelector] = []

        def visit(node: promql.Expr) -> None:
            if isinstance(node, promql.VectorSelector):
                found.append(node)

        promql.walk(promql.parse(expression), visit)
        return iter(found)

    def _labels(self, node: Any) -> Labels:
        match node:
            case promql.VectorSelector():
                found = self._of_metric(node)
            case promql.MatrixSelector():
                found = self._of_metric(node.vector_selector)
            case promql.AggregateExpr():
                found = self._of_aggregate(node)
            case promql.BinaryExpr():
                found = self._of_binary(node)
            case promql.Call():
                found = NONE.union(*map(self._labels, node.args))
                if node.func.name == "histogram_quantile":
                    found -= {"le"}
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                found = self._labels(node.expr)
            case promql.NumberLiteral() | promql.StringLiteral():
                found = NONE
            case _:
                raise NotImplementedError(type(node).__name__)
        return found

    def _of_metric(self, selector: promql.VectorSelector) -> Labels:
        if selector.name is None or selector.name not in self.metrics:
            raise WrongExpressionError(f"there is no metric {selector.name}")
        labels = self.metrics[selector.name]
        asked = {matcher.name for matcher in selector.matchers.matchers}
        _need(asked, labels, f"{selector.name} is asked for")
        return labels

    def _of_aggregate(self, node: promql.AggregateExpr) -> Labels:
        inner = self._labels(node.expr)
        if str(node.op) in ("topk", "bottomk"):
            return inner
        kept: Labels = NONE
        if node.modifier is not None:
            named = frozenset(node.modifier.labels)
            _need(named, inner, f"{node.op} is asked to keep or drop")
            kept = named if node.modifier.type == BY else inner - named
        if str(node.op) == "count_values":
            assert isinstance(node.param, promql.StringLiteral)
            kept |= {node.param.val}
        return kept

    def _of_binary(self, node: promql.BinaryExpr) -> Labels:
        left, right = self._labels(node.lhs), self._labels(node.rhs)
        operator, modifier = str(node.op), node.modifier
        # A scalar, or a result without labels, has nothing to be compared by.
        if operator == "or" or NONE in (left, right):
            return left | right
        matching = None if modifier is None else modifier.matching
        compared = left | right if matching is None else _compared(matching, left, right)
        _need(compared, left & right, f"{operator} compares")
        if modifier is None or operator in ("and", "unless"):
            return left
        more = frozenset(modifier.group_labels or ())
        match modifier.card:
            case promql.VectorMatchCardinality.OneToOne:
                return compared
            case promql.VectorMatchCardinality.ManyToOne:
                return left | more
            case _:
                return right | more


def _compared(matching: promql.LabelModifier, left: Labels, right: Labels) -> Labels:
    named = frozenset(matching.labels)
    return named if matching.type == INCLUDE else (left | right) - named


def _need(wanted: set[str] | Labels, there: Labels, what: str) -> None:
    if missing := wanted - there:
        raise WrongExpressionError(f"{what} {sorted(missing)}; there are {sorted(there)}")
