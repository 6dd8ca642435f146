/**
 * What nginx asks by `auth_request`: who calls, by the certificate, and whether they may, by the same 1,000 policies; a line of
 * audit for each, written before the answer. `/synced` waits until it is on the disk, one sync for all that wait.
 */
import { X509Certificate } from 'node:crypto'
import { open } from 'node:fs/promises'
import { createServer } from 'node:http'
import { newId } from '@sallyport/base'
import { createDecider } from '@sallyport/decide'
import { declaration } from './declaration.ts'

export type DecisionsReady = 'ready'

const { BENCH_SOCKET: socket = '', BENCH_LOG: log = '' } = process.env
const decider = await createDecider({ declaration: await declaration() })
const file = await open(log, 'a')
const callers = new Map<string, string>()

function callerOf(escaped: string): string {
  let caller = callers.get(escaped)
  if (caller === undefined) {
    const { subjectAltName = '' } = new X509Certificate(decodeURIComponent(escaped))
    caller = subjectAltName.replace(/^URI:/, '')
    callers.set(escaped, caller)
  }
  return caller
}

let lines: string[] = []
let waiting: (() => void)[] = []
let isWriting = false

async function write(): Promise<void> {
  isWriting = true
  while (lines.length > 0) {
    const text = lines.join('')
    const done = waiting
    lines = []
    waiting = []
    await file.write(text)
    if (done.length > 0) await file.datasync()
    for (const one of done) one()
  }
  isWriting = false
}

function append(line: string, synced: boolean): Promise<void> | undefined {
  lines.push(line)
  const durable = synced
    ? new Promise<void>((resolve) => {
        waiting.push(resolve)
      })
    : undefined
  if (!isWriting) void write()
  return durable
}

const server = createServer((req, res) => {
  const { 'x-uri': uri, 'x-cert': cert } = req.headers
  const instance = callerOf(String(cert))
  const accountId = /^\/bank\/v1\/accounts\/([^/?]+)$/.exec(String(uri))?.[1] ?? ''
  const now = Date.now()
  const outcome = decider.decide(
    {
      instance,
      agent: instance.split('/').at(-2) ?? '',
      system: 'bank',
      operation: 'getAccount',
      input: { accountId },
      time: now,
      evidence: { approvals: [] },
    },
    { labels: [], risk: 0 },
  )
  const record = {
    id: newId('dec', now),
    at: now,
    instance,
    uri,
    decision: outcome.decision,
    code: outcome.code,
  }
  const durable = append(`${JSON.stringify(record)}\n`, req.url === '/synced')
  const answer = (): void => {
    res.writeHead(outcome.decision === 'allow' ? 204 : 403, { 'content-length': 0 }).end()
  }
  if (durable) void durable.then(answer)
  else answer()
})
server.keepAliveTimeout = 60_000
const READY: DecisionsReady = 'ready'
server.listen(socket, () => process.send?.(READY))
process.once('disconnect', () => process.exit(0))
