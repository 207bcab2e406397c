"""The names of every metric, in one place.

A metric is a log entry, which log-based metrics read: one a message or batch, never one an image.
"""

from typing import Literal

Metric = Literal[
    "messages_handled",  # count, by subscription
    "messages_rejected",  # count, by subscription
    "messages_failed",  # count, by subscription; each is redelivered or dead-lettered
    "handle_ms",  # milliseconds from decode to the last publication, by subscription
    "images_selected",  # count, once a job
    "images_staged",  # count of copies
    "images_augmented",  # count of variants written
    "images_classified",  # count of predictions with labels
    "image_errors",  # count, by code
    "jobs_completed",  # count
]
