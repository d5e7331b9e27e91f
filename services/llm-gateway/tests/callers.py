"""Requests to the four APIs, as callers of the gateway send them."""

import json
from typing import Any

import aiohttp
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from .conftest import Gateway

RESPONSES = ("/v1/responses", {"model": "gpt-5", "input": "hi"})
CHATS = ("/v1/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
MESSAGES = (
    "/v1/messages?beta=true",
    {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]},
)
GENERATE = (
    "/v1beta/models/gemini-2.5-pro:generateContent",
    {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
)
GENERATE_STREAM = ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", GENERATE[1])


async def post(gateway: Gateway, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    async with aiohttp.ClientSession() as session:
        sent = {"authorization": f"Bearer {gateway.token}", "content-type": "application/json"} | headers
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with session.post(gateway.url + path, data=data, headers=sent) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()


def openai_of(gateway: Gateway) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=0)


def anthropic_of(gateway: Gateway) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=gateway.url, api_key=gateway.token, max_retries=0)
