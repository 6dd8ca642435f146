"""The MCP client, unmodified. `DESK_URL` is all that it knows of the gateway."""

import asyncio
import os

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError


async def main() -> None:
    async with streamablehttp_client(os.environ["DESK_URL"]) as (read, write, _):
        async with ClientSession(read, write) as session:
            await session.initialize()
            listed = await session.list_tools()
            print("tools:", sorted(tool.name for tool in listed.tools))
            note = await session.call_tool("read_note", {"ref": "a"})
            print("note:", note.structuredContent)
            try:
                await session.call_tool("add_note", {"ref": "a", "words": 5000})
            except McpError as refused:
                # What would let the very same call through, as data.
                print("refused:", refused.error.data["code"], refused.error.data.get("needs"))


asyncio.run(main())
