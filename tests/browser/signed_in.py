"""Signing in, as a person does."""

from playwright.sync_api import Page


def sign_in(page: Page, key: str) -> None:
    """Signs in with an API key; the page then shows the jobs."""
    page.goto("/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Jobs", level=1).wait_for()
