/**
 * A process of its own: the control plane of the gateway's tests, 1,000 policies, and a service of the network that answers
 * every call with the same kilobyte. Over IPC it hands out where they are and who may call.
 */
import { createServer } from 'node:https'
import { closeCedar } from '@sallyport/cedar'
import { gatewayId } from '@sallyport/spiffe'
import type { IdentityMaterial } from '@sallyport/transport'
import type { TrustPins } from '@sallyport/wire'
import { TestPlane } from '../../packages/gateway/test/support/plane.ts'
import { ScriptedMcp } from '../../test/support/scripted-mcp.ts'
import { declaration, withTools } from './declaration.ts'

const CALLERS = 64

export interface Backend {
  readonly planePort: number
  readonly upstreamPort: number
  /** Of an MCP server, behind TLS. */
  readonly toolsPort: number
  readonly toolsCa: string
  readonly pins: TrustPins
  readonly agents: readonly IdentityMaterial[]
  /** For nginx: towards callers and towards the service. */
  readonly rival: IdentityMaterial
  readonly answerBytes: number
}

const account = {
  id: 'ACC-1',
  owner: 'Ann Lee',
  balance: 120_000,
  memo: 'rent for november, thank you',
  status: 'open',
}
const more = Object.fromEntries(
  Array.from({ length: 12 }, (_, i) => [
    `internal${i}`,
    `not declared to anybody ${i} ${'x'.repeat(24)}`,
  ]),
)
const ANSWER = Buffer.from(
  JSON.stringify({ account: { ...account, ...more }, trace: { node: 'n1' } }),
)

/** Ids of accounts whose answers are longer: about 100 KB and about 10 MB, nearly all of it a text that may leave. */
export const MEDIUM = 'ACC-MEDIUM'
export const LONG = 'ACC-LONG'

const withMemo = (length: number): Buffer =>
  Buffer.from(JSON.stringify({ account: { ...account, memo: 'rent '.repeat(length / 5) } }))
const LONGER = [
  { id: MEDIUM, answer: withMemo(100_000) },
  { id: LONG, answer: withMemo(10_000_000) },
]

async function main(): Promise<void> {
  const tools = await new ScriptedMcp().listen()
  tools.call = (stream) => {
    stream.result({ content: [{ type: 'text', text: 'rent for november, thank you' }] })
  }
  const plane = new TestPlane(await declaration(await withTools(tools.front.caPem)))
  plane.gatewayTtl = 3600
  await plane.listen()
  const { chainPem, keyPem, rootsPem } = plane.service('bank')
  // As strict about who calls as services are, but for ALPN: nginx names no protocol to those behind it.
  const service = createServer(
    {
      cert: chainPem,
      key: keyPem,
      ca: rootsPem,
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['http/1.1'],
      keepAliveTimeout: 120_000,
    },
    (req, res) => {
      req.resume()
      const answer = LONGER.find(({ id }) => req.url?.endsWith(id) === true)?.answer ?? ANSWER
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': answer.length })
      res.end(answer)
    },
  )
  await new Promise<void>((resolve) => {
    service.listen(0, '127.0.0.1', resolve)
  })
  const address = service.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const backend: Backend = {
    planePort: plane.port,
    upstreamPort: address.port,
    toolsPort: tools.front.port,
    toolsCa: tools.front.caPem,
    pins: plane.pins,
    agents: Array.from({ length: CALLERS }, (_, i) => plane.agent('teller', `i${i}`, 7200)),
    rival: plane.issue(gatewayId(plane.trustDomain, 'rival'), 7200),
    answerBytes: ANSWER.length,
  }
  process.send?.(backend)
  // What gateways report is of no use here, and would fill the memory.
  const forget = setInterval(() => {
    plane.feed.clear()
    tools.seen.length = 0
    tools.methods.length = 0
  }, 1000)
  process.once('disconnect', () => {
    clearInterval(forget)
    void closeCedar().then(() => process.exit(0))
  })
}

if (process.send) await main()
