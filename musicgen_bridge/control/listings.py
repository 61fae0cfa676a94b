"""What /musicgen/list and /musicgen/events answer: one message an item, and one that says so where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from musicgen_bridge.asking.presets import Presets
from musicgen_bridge.control import replies
from musicgen_bridge.control.clients import split_return
from musicgen_bridge.control.osc_codec import Message
from musicgen_bridge.control.replies import Id, build, job_event
from musicgen_bridge.jobs import Event, Job, Jobs
from musicgen_bridge.request import RenderRequest

Item = Mapping[str, object]


def listing(request_id: Id, items: Sequence[Item]) -> list[Message]:
    """Return the messages of a list."""
    total = len(items)
    messages = [build(replies.LIST_REPLY, request_id, index, total, pairs=item) for index, item in enumerate(items)]
    return messages or [build(replies.LIST_REPLY, request_id, 0, 0)]


def preset_items(presets: Presets) -> list[Item]:
    """Return the presets by slot."""
    names = ("name", "slot", "summary", "role", "genre")
    return [{name: getattr(preset, name) for name in names} for preset in presets.all()]


def job_items(jobs: Jobs) -> list[Item]:
    """Return the newest jobs of every client, newest first."""
    return [
        {
            "job": job.number,
            "target": split_return(job.reply_to, job.rid)[1],
            "client": job.owner,
            "state": job.state,
            "position": jobs.position(job),
            "fraction": job.progress.fraction if job.progress else float(job.state == "done"),
            "prompt": job.request.prompt if isinstance(job.request, RenderRequest) else "",
        }
        for job in jobs.listed()
    ]


def past_events(request_id: Id, since: int, events: Sequence[tuple[int, Job, Event]]) -> list[Message]:
    """Return the messages that repeat numbered events, each with the arguments of the event's own message."""
    messages = []
    for index, (number, job, event) in enumerate(events):
        told = job_event(split_return(job.reply_to, job.rid)[1], job, event)
        fields = (index, len(events), number, told.address.rpartition("/")[2])
        messages.append(build(replies.EVENTS_REPLY, request_id, *fields, then=told.arguments))
    return messages or [build(replies.EVENTS_REPLY, request_id, 0, 0, since, "")]
