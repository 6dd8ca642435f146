import { SallyportError } from '@sallyport/base'
import { fetch } from 'undici'
import type { Dispatcher } from 'undici'

/** Names the gateway in addresses that are given to other clients; nothing resolves it. */
const ORIGIN = 'https://gateway.sallyport.invalid'

/** A path of the gateway as an address for `fetch` of the same client. */
export const gatewayUrl = (path: string): string => new URL(path, ORIGIN).href

/**
 * `fetch` over the connections of an agent, for clients that take one (`openai`, `@anthropic-ai/sdk`, the MCP SDK, the AI SDK, LangChain).
 *
 * @throws SallyportError `SP_CLIENT_ORIGIN` for any address but the gateway's: there is no other way out
 */
export function fetchThrough(dispatcher: () => Dispatcher): typeof globalThis.fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    const { origin, pathname, search } = new URL(request.url)
    if (origin !== ORIGIN) {
      throw new SallyportError('SP_CLIENT_ORIGIN', 'the address is not one of the gateway', {
        detail: origin,
        fix: 'make addresses with `client.url("/SYSTEM/…")`',
      })
    }
    return fetch(ORIGIN + pathname + search, {
      method: request.method,
      headers: [...request.headers],
      // A gateway sends nobody elsewhere.
      redirect: 'error',
      signal: request.signal,
      dispatcher: dispatcher(),
      ...(request.body ? { body: await request.arrayBuffer() } : {}),
    })
  }
}
