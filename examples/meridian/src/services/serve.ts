import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Handler } from './http.ts'

const MAX_BODY = 65_536

/** Lets a handler answer Node's HTTP servers. */
export function serveNode(handler: Handler): (req: IncomingMessage, res: ServerResponse) => void {
  return (req, res) => {
    answer(handler, req, res).catch(() => {
      if (!res.headersSent) res.writeHead(500)
      res.end()
    })
  }
}

async function answer(handler: Handler, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req) {
    // Without an encoding set, a request yields buffers.
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > MAX_BODY) {
      res.writeHead(413, { connection: 'close' }).end()
      return
    }
    chunks.push(bytes)
  }
  const headers = new Headers()
  for (const [name, value] of Object.entries(req.headers)) {
    if (typeof value === 'string') headers.set(name, value)
  }
  const request = new Request(new URL(req.url ?? '/', 'http://service.invalid'), {
    method: req.method ?? 'GET',
    headers,
    ...(size > 0 ? { body: Buffer.concat(chunks) } : {}),
  })
  const response = await handler(request)
  const body = Buffer.from(await response.arrayBuffer())
  res.writeHead(response.status, Object.fromEntries(response.headers)).end(body)
}
