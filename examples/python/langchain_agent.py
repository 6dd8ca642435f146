"""LangChain with its own OpenAI and MCP clients, unmodified: models and tools both by way of the gateway."""

import asyncio
import os

from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI


async def main() -> None:
    servers = MultiServerMCPClient(
        {"desk": {"transport": "streamable_http", "url": os.environ["DESK_URL"]}}
    )
    agent = create_agent(
        # `OPENAI_BASE_URL` says where; the gateway has the key.
        ChatOpenAI(model="small", api_key="sallyport", max_completion_tokens=200),
        await servers.get_tools(),
    )
    done = await agent.ainvoke({"messages": [("user", "Read note a to me.")]})
    for message in done["messages"]:
        print(type(message).__name__, message.content or message.tool_calls)


asyncio.run(main())
