/**
 * A process of its own: the control plane of the gateway's tests, and a model server that gives every prompt the same answer, over
 * TLS for the gateway and without for a rival. Over IPC it hands out where they are and who may call.
 */
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { closeCedar } from '@sallyport/cedar'
import type { IdentityMaterial } from '@sallyport/transport'
import type { TrustPins } from '@sallyport/wire'
import { ModelServer, modelSystem, withModels } from '../../packages/gateway/test/support/models.ts'
import { TestPlane } from '../../packages/gateway/test/support/plane.ts'
import { declaration } from './declaration.ts'

const CALLERS = 64

export interface ModelBackend {
  readonly planePort: number
  /** Where the answers are to be had in the clear. */
  readonly plainPort: number
  readonly pins: TrustPins
  readonly agents: readonly IdentityMaterial[]
}

const ANSWER = Buffer.from(
  JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model: 'small',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'The account shows a pattern that is common.' },
        finish_reason: 'stop',
      },
    ],
    usage: { prompt_tokens: 200, completion_tokens: 9, total_tokens: 209 },
  }),
)
const HEADERS = { 'content-type': 'application/json', 'content-length': ANSWER.length }

/** As little as a server can do: what is measured is in front of it. */
const answer: RequestListener = (req, res) => {
  req.resume()
  req.on('end', () => res.writeHead(200, HEADERS).end(ANSWER))
}

async function main(): Promise<void> {
  const models = new ModelServer(answer)
  await models.listen()
  const system = modelSystem('models', models, {
    dialect: 'openai',
    models: [{ name: 'small', maxOutputTokens: 1000 }],
  })
  const plane = new TestPlane(withModels(await declaration(), [system]))
  plane.gatewayTtl = 3600
  await plane.listen()
  const plain = createServer(answer)
  await new Promise<void>((resolve) => {
    plain.listen(0, '127.0.0.1', resolve)
  })
  const backend: ModelBackend = {
    planePort: plane.port,
    // Port of a TCP listener.
    plainPort: (plain.address() as AddressInfo).port,
    pins: plane.pins,
    agents: Array.from({ length: CALLERS }, (_, i) => plane.agent('teller', `i${i}`, 7200)),
  }
  process.send?.(backend)
  // What gateways report is of no use here, and would fill the memory.
  const forget = setInterval(() => {
    plane.feed.clear()
  }, 1000)
  process.once('disconnect', () => {
    clearInterval(forget)
    void closeCedar().then(() => process.exit(0))
  })
}

if (process.send) await main()
