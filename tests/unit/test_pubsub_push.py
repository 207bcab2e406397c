"""Pushing against a real HTTP server, where the public limits would make a test take too long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from services.local.pubsub.messages import PubsubMessage
from services.local.pubsub.messages import Subscription as SubscriptionProto
from services.local.pubsub.push import MAX_IN_FLIGHT, Push, open_session
from services.local.pubsub.storage import Message, Storage
from services.local.pubsub.subscription import Subscription

WAIT_SECONDS = 20


@asynccontextmanager
async def pushing(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]], count: int
) -> AsyncIterator[Subscription]:
    """A subscription of `count` messages that are pushed to a handler, with an ack deadline of one second."""
    application = web.Application()
    application.router.add_post("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    config = SubscriptionProto(name="projects/test/subscriptions/push", ack_deadline_seconds=1)
    config.push_config.push_endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    subscription = Subscription(config, Storage(None), lambda *_: False)
    for number in range(1, count + 1):
        subscription.offer(Message.of(PubsubMessage(message_id=str(number), data=b"x")))
    async with open_session() as session:
        push = Push(subscription, session)
        try:
            yield subscription
        finally:
            push.abort()
            await runner.cleanup()


def test_a_push_that_takes_longer_than_the_ack_deadline_is_repeated() -> None:
    async def main() -> None:
        calls = 0
        repeated = asyncio.Event()

        async def handle(request: web.Request) -> web.Response:
            nonlocal calls
            calls += 1
            if calls == 1:
                await asyncio.sleep(WAIT_SECONDS)
            repeated.set()
            return web.Response()

        async with pushing(handle, count=1) as subscription, asyncio.timeout(WAIT_SECONDS - 5):
            await repeated.wait()
            while subscription.unacked():
                await asyncio.sleep(0.01)
        assert calls == 2

    asyncio.run(main())


def test_sixty_four_pushes_are_in_flight_and_no_more() -> None:
    async def main() -> None:
        arrived: list[web.Request] = []
        full, release = asyncio.Event(), asyncio.Event()

        async def handle(request: web.Request) -> web.Response:
            arrived.append(request)
            if len(arrived) == MAX_IN_FLIGHT:
                full.set()
            await release.wait()
            return web.Response()

        async with pushing(handle, count=MAX_IN_FLIGHT + 10) as subscription:
            async with asyncio.timeout(WAIT_SECONDS):
                await full.wait()
                await asyncio.sleep(0.1)
                assert len(arrived) == MAX_IN_FLIGHT
                release.set()
                while subscription.unacked():
                    await asyncio.sleep(0.01)
        assert len(arrived) >= MAX_IN_FLIGHT + 10

    asyncio.run(main())


def test_a_redirect_is_not_followed() -> None:
    async def main() -> None:
        calls = 0
        second = asyncio.Event()

        async def handle(request: web.Request) -> web.Response:
            nonlocal calls
            calls += 1
            if calls == 2:
                second.set()
                return web.Response()
            return web.Response(status=307, headers={"Location": "/elsewhere"})

        async with pushing(handle, count=1) as subscription, asyncio.timeout(WAIT_SECONDS):
            await second.wait()
            while subscription.unacked():
                await asyncio.sleep(0.01)
        assert calls == 2

    asyncio.run(main())
