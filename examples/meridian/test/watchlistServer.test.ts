import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import type { RequestOptions } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { createRoot } from '@sallyport/spiffe'

const dir = mkdtempSync(join(tmpdir(), 'meridian-'))
const caFile = join(dir, 'ca.pem')
const child = spawn(
  process.execPath,
  [join(import.meta.dirname, '../src/services/watchlistServer.ts')],
  {
    env: { ...process.env, MERIDIAN_WATCHLIST_KEY: 'secret', MERIDIAN_WATCHLIST_CA: caFile },
    stdio: ['ignore', 'pipe', 'inherit'],
  },
)
let port = 0

before(async () => {
  for await (const line of createInterface({ input: child.stdout })) {
    // The first line is the `listening` event of this very process.
    const event = JSON.parse(line) as { event: string; port: number }
    port = event.port
    break
  }
})

after(async () => {
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
  rmSync(dir, { recursive: true })
})

function screen(options: RequestOptions): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: '127.0.0.1',
        port,
        method: 'POST',
        path: '/v1/screen',
        servername: 'watchlist.example',
        headers: { 'content-type': 'application/json', 'x-api-key': 'secret' },
        ca: readFileSync(caFile),
        ...options,
      },
      (response) => {
        let body = ''
        response.on('data', (chunk) => (body += String(chunk)))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
      },
    )
    call.on('error', reject)
    call.end(JSON.stringify({ name: 'Elif Farkas' }))
  })
}

test('the watchlist answers under its own CA, its pinned name and its key', async () => {
  const { status, body } = await screen({})
  assert.equal(status, 200)
  assert.match(body, /WL-0233/)
})

test('another CA or another name is not accepted by a careful caller; a wrong key is refused', async () => {
  const other = createRoot({ trustDomain: 'watchlist.example', ttlSeconds: 60 }).certificatePem
  await assert.rejects(screen({ ca: other }))
  await assert.rejects(screen({ servername: 'other.example' }), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  })
  assert.equal((await screen({ headers: { 'x-api-key': 'guess' } })).status, 401)
})
