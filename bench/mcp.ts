/** `npm run conformance -- mcp`: the official MCP conformance suite, against the gateway as server and as client. */
export { run } from './gateway/mcp-conformance.ts'
