"""Whose events a drill sends, and where."""

from deploy.demo.stage import PARTITIONS
from deploy.drill.stage import CUSTOMERS
from deploy.drill.traffic import customer_of


def test_no_partition_is_of_a_few_customers_alone() -> None:
    for partition in range(PARTITIONS):
        numbers = range(partition, PARTITIONS * CUSTOMERS, PARTITIONS)
        assert len({customer_of(n, PARTITIONS, CUSTOMERS) for n in numbers}) == CUSTOMERS


def test_customers_have_equally_many_events() -> None:
    per_customer = [customer_of(n, PARTITIONS, CUSTOMERS) for n in range(PARTITIONS)]
    assert {per_customer.count(each) for each in range(CUSTOMERS)} == {PARTITIONS // CUSTOMERS}
