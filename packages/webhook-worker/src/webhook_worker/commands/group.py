"""``webhook-worker group``: what a consumer group is doing, and static members taken out of it."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence

from kafka_utils import Admin
from kafka_utils.group import GroupDescription
from kafka_utils.group_questions import Removed
from webhook_worker.commands.exit_codes import FAILED, MISUSED, OK
from webhook_worker.commands.group_report import as_json, member_lines, state_lines
from webhook_worker.settings import load_all


def describe(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the group's state and members; FAILED if there is no such group."""
    settings = load_all(environ, need_endpoints=False)
    group_id = arguments.group or settings.kafka.group_id
    group = asyncio.run(_describe(settings.kafka.admin(), group_id))
    if arguments.json:
        print(json.dumps(as_json(group), indent=2))
    else:
        if not arguments.members:
            print(*state_lines(group), sep="\n")
        if not arguments.state:
            print(*member_lines(group), sep="\n")
    return OK if group.exists else FAILED


def remove_members(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Remove static members, if --yes says so; FAILED if one of them is unknown."""
    settings = load_all(environ, need_endpoints=False)
    group_id = arguments.group or settings.kafka.group_id
    if not arguments.yes:
        said = f"would remove from group {group_id}: {', '.join(arguments.instance_ids)}"
        print(f"webhook-worker group remove-members: {said}; --yes does it", file=sys.stderr)
        return MISUSED
    result = asyncio.run(_remove(settings.kafka.admin(), group_id, arguments.instance_ids))
    for instance_id in result.removed:
        print(f"{instance_id}: removed")
    for instance_id in result.unknown:
        print(f"{instance_id}: unknown to group {group_id}", file=sys.stderr)
    return FAILED if result.unknown else OK


async def _describe(admin: Admin, group_id: str) -> GroupDescription:
    async with admin:
        return await admin.describe_group(group_id)


async def _remove(admin: Admin, group_id: str, instance_ids: Sequence[str]) -> Removed:
    async with admin:
        return await admin.remove_static_members(group_id, instance_ids)
