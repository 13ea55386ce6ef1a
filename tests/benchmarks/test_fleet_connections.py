"""What `ss` says of connections to brokers, read and added up."""

from benchmarks.fleet.connections import Connection, Totals, Traffic, parse

LISTING = """\
ESTAB 0      0      127.0.0.1:51742 127.0.0.1:20001 users:(("python3",pid=71,fd=9))
\t cubic wscale:7,7 rto:204 bytes_sent:1200 bytes_acked:1201 bytes_received:900 segs_out:40 \
segs_in:41 data_segs_out:12 data_segs_in:13 send 9Mbps
ESTAB 0   0   127.0.0.1:51744 127.0.0.1:20002 users:(("java",pid=72,fd=14),("java",pid=73,fd=1))
\t cubic wscale:7,7 bytes_acked:5 bytes_received:7 segs_out:3 data_segs_in:1
TIME-WAIT 0  0      127.0.0.1:51746 127.0.0.1:20002
\t cubic
ESTAB 0      0      [::ffff:127.0.0.1]:51748 [::ffff:127.0.0.1]:20001 users:(("java",pid=74,fd=3))
\t cubic bytes_sent:1 bytes_received:2 data_segs_out:3
"""


def test_each_connection_has_its_process_its_broker_and_what_it_carried() -> None:
    assert parse(LISTING) == [
        Connection(71, "127.0.0.1:51742", 20001, Traffic(1200, 900, 12)),
        Connection(72, "127.0.0.1:51744", 20002, Traffic(0, 7, 0)),
        Connection(74, "[::ffff:127.0.0.1]:51748", 20001, Traffic(1, 2, 3)),
    ]


def test_an_empty_listing_has_no_connections() -> None:
    assert parse("") == []


def test_the_traffic_of_each_broker_is_what_was_added_since() -> None:
    earlier = Totals.of([Connection(1, "a", 20001, Traffic(10, 20, 1))])
    later = Totals.of(
        [
            Connection(1, "a", 20001, Traffic(15, 20, 2)),
            Connection(1, "b", 20001, Traffic(1, 2, 3)),
            Connection(2, "c", 20002, Traffic(7, 8, 9)),
        ]
    )
    assert later.since(earlier, [20001, 20002, 20003]) == {
        20001: Traffic(6, 2, 4),
        20002: Traffic(7, 8, 9),
        20003: Traffic(0, 0, 0),
    }
