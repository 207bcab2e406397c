"""The raw protobuf classes of google.pubsub.v1, as google-cloud-pubsub carries them.

The proto-plus classes that wrap them cost five to ten times as much on every field access.
"""

from typing import Any

from google.pubsub_v1 import types

# The raw classes are made at run time, so no static type describes their fields.
type Proto = Any


def raw(name: str) -> Proto:
    """The raw protobuf class of the message `name`, such as "Topic"."""
    return getattr(types, name).pb()


Topic = raw("Topic")
Subscription = raw("Subscription")
Snapshot = raw("Snapshot")
Schema = raw("Schema")
PubsubMessage = raw("PubsubMessage")
ReceivedMessage = raw("ReceivedMessage")
StreamingPullResponse = raw("StreamingPullResponse")
