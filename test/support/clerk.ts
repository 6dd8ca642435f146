/** An agent as a process of its own: calls as fast as it is told to and says on stdout what it was answered. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, enrol, RefusedError } from '@sallyport/agent'
import type { JsonValue } from '@sallyport/base'

export interface Said {
  readonly event: 'answer'
  readonly instance: string
  readonly kind: string
  readonly ref: string
  /** 200, or as refused; 0 where the connection broke. */
  readonly status: number
  readonly code: string
  readonly outcome: string
  readonly decision: string
}

const env = (name: string): string => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}
const at = (port: string): { host: string; port: number } => ({
  host: '127.0.0.1',
  port: Number(port),
})

const identity = await enrol({
  planeTarget: at(env('PLANE_PORT')),
  rootsPem: env('ROOTS_PEM'),
  token: env('JOIN_TOKEN'),
  trustDomain: env('TRUST_DOMAIN'),
})
identity.startRotation()
const client = createClient({ identity, gateway: at(env('GATEWAY_PORT')) })
const instance = identity.spiffeId
const say = (line: object): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
let count = 0
const nextRef = (): string => `${instance.slice(-8)}-${count++}`

type Answer = Pick<Said, 'status' | 'code' | 'outcome' | 'decision'> & { approval: string }

/** One call; what was answered is said before anything else happens. */
async function call(kind: string, ref: string, make: () => Promise<string>): Promise<Answer> {
  let answer: Answer
  try {
    const decision = await make()
    answer = { status: 200, code: 'SP_ALLOWED', outcome: 'allowed', decision, approval: '' }
  } catch (error) {
    answer =
      error instanceof RefusedError
        ? {
            ...{ status: error.status, code: error.code, outcome: error.outcome },
            decision: error.decision ?? '',
            approval: error.needs?.[0]?.approval ?? '',
          }
        : { status: 0, code: '', outcome: 'broken', decision: '', approval: '' }
  }
  say({ event: 'answer', instance, kind, ref, ...answer })
  // A gateway that is away is not stormed.
  if (answer.status === 0) await sleep(50)
  return answer
}

async function http(
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: JsonValue,
  approval?: string,
): Promise<string> {
  const { headers } = await client.request({
    ...{ method, path: `/ledger${path}` },
    ...(body === undefined ? {} : { body }),
    ...(approval === undefined ? {} : { approval }),
    signal: AbortSignal.timeout(5000),
  })
  return headers.get('sallyport-decision') ?? ''
}

const order = (kind: string, path: string, amount: number): Promise<Answer> => {
  const ref = nextRef()
  return call(kind, ref, () => http('POST', path, { ref, amount }))
}

/** Asks, waits for the operator, and then tries to use the one approval twice at once. */
async function large(): Promise<void> {
  const ref = nextRef()
  const body = { ref, amount: 5000 }
  const asked = await call('large-asked', ref, () => http('POST', '/v1/entries', body))
  if (asked.approval === '') return
  const wait = client.awaitApproval(asked.approval, { timeoutMs: 10_000, intervalMs: 100 })
  if ((await wait.catch(() => 'broken')) !== 'approved') return
  await Promise.all(
    [1, 2].map(() => call('large', ref, () => http('POST', '/v1/entries', body, asked.approval))),
  )
}

const kinds: readonly (() => Promise<unknown>)[] = [
  () => call('read', nextRef(), () => http('GET', '/v1/entries/1')),
  () => order('small', '/v1/entries', 10),
  () => order('draw', '/v1/draws', 1),
  () => order('fortune', '/v1/entries', 90_000),
  () => order('seize', '/v1/seizures', 10),
  () => call('purge', nextRef(), () => http('DELETE', '/v1/entries/1')),
  () => call('export', nextRef(), () => http('GET', '/v1/entries')),
  large,
]

let desk = client.mcp('desk')
async function note(): Promise<void> {
  const ref = nextRef()
  const { status } = await call('note', ref, async () => {
    await desk.callTool('add_note', { ref, words: 10 })
    return ''
  })
  // A gateway that started anew knows no session of before.
  if (status !== 200) desk = client.mcp('desk')
}

const pace = Number(env('PACE_MS'))
say({ event: 'ready', instance })
await Promise.all(
  [...kinds, note].map(async (one) => {
    for (;;) {
      await one()
      await sleep(pace * (0.5 + Math.random()))
    }
  }),
)
