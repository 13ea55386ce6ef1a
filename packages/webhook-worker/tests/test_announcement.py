"""Operational events: what makes two of them the same one."""

import json

from webhook_worker.announcement import Announcement, endpoint_disabled
from webhook_worker.endpoint import Endpoint
from webhook_worker.url import parse_url

AN_HOUR = 1_800_000_000_000
ENDPOINT = Endpoint(id="e", customer_id="acme", url=parse_url("https://a.test/"), secrets=())


def id_of(announcement: Announcement) -> str:
    return str(json.loads(announcement.value())["id"])


def test_what_several_processes_find_out_at_once_is_one_event() -> None:
    for reason in ("gone", "failing"):
        ids = {id_of(endpoint_disabled(ENDPOINT, reason, "", AN_HOUR + ms)) for ms in (0, 7, 900)}
        assert len(ids) == 1
    again = endpoint_disabled(ENDPOINT, "gone", "", AN_HOUR + 3_600_000)
    assert id_of(again) != id_of(endpoint_disabled(ENDPOINT, "gone", "", AN_HOUR))


def test_what_an_operator_does_is_an_event_each_time() -> None:
    ids = {id_of(endpoint_disabled(ENDPOINT, "operator", "", AN_HOUR + ms)) for ms in (0, 7, 900)}
    assert len(ids) == 3
