"""The names of every metric, in one place. A metric is a log entry; log-based metrics read it."""

from typing import Literal

Metric = Literal[
    "messages_handled",  # count, by subscription
    "messages_rejected",  # count, by subscription
    "messages_failed",  # count, by subscription; each is redelivered or dead-lettered
    "handle_ms",  # milliseconds from decode to the last publication, by subscription
    "images_selected",  # count
    "images_staged",  # count
    "images_augmented",  # count of variants written
    "images_classified",  # count
    "image_errors",  # count, by code
    "batch_size",  # images that one call of the model got
    "jobs_completed",  # count
]
