import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseJson } from '@sallyport/base'
import { startEmbeddedPostgres } from '@sallyport/control'
import { mtlsConnect } from '@sallyport/transport'
import pg from 'pg'
import { members, textOf } from '../../packages/cli/src/shape.ts'
import { createAccount } from '../../packages/control/src/secrets/postgres/account.ts'
import { scramVerifier } from '../../packages/control/src/secrets/postgres/scram.ts'
import { startHarness } from '../network/harness.ts'
import type { Caller, Harness } from '../network/harness.ts'
import { bounded } from '../row.ts'
import type { Row } from '../row.ts'

const ITEM = { method: 'GET', path: '/store/v1/items/1' } as const
const RESOURCE = 'https://gateway.bench.example/store'
const TRIES = 200

/** What somebody who copied a credential can do with it: a token at the gateway, a password at a database. */
export async function benchCopied(note: (text: string) => void): Promise<Row[]> {
  const harness = await startHarness(note)
  try {
    return [...(await copiedToken(harness)), ...(await copiedPassword(note))]
  } finally {
    await harness.stop()
  }
}

async function copiedToken(harness: Harness): Promise<Row[]> {
  const owner = await harness.caller()
  const thief = await harness.caller()
  const headers = { authorization: `Bearer ${await tokenFor(harness, owner)}` }
  const answered = async (caller: Caller): Promise<number> => {
    let count = 0
    for (let i = 0; i < TRIES; i++) {
      const reply = await caller.client.request({ ...ITEM, headers }).catch(() => undefined)
      if (reply?.status === 200) count++
    }
    return count
  }
  const rows = [
    bounded(
      `a bearer token: of ${TRIES} calls of its holder answered`,
      await answered(owner),
      'calls',
      '=',
      TRIES,
    ),
    bounded(
      `a copied bearer token: of ${TRIES} calls of another instance answered, at once`,
      await answered(thief),
      'calls',
      '=',
      0,
    ),
  ]
  await owner.close()
  await thief.close()
  return rows
}

/** Client credentials by the caller's certificate (RFC 8705). */
async function tokenFor(harness: Harness, caller: Caller): Promise<string> {
  const socket = await mtlsConnect({
    identity: caller.identity.holder,
    ...harness.plane,
    expect: (peer) => peer.id.segments[0] === 'control',
  })
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: caller.spiffeId,
    resource: RESOURCE,
  })
  const headers = { host: 'plane', 'content-type': 'application/x-www-form-urlencoded' }
  const how = { createConnection: () => socket, method: 'POST', path: '/oauth2/token', headers }
  const sent = request(how, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('end', () => {
      resolve(Buffer.concat(chunks).toString())
    })
  })
  sent.on('error', reject)
  sent.end(form.toString())
  try {
    return textOf(members(parseJson(await promise))['access_token'])
  } finally {
    socket.destroy()
  }
}

/** The worst case: a server that cannot be given certificates. By certificate there is no password to copy. */
async function copiedPassword(note: (text: string) => void): Promise<Row[]> {
  note('a database password, until it is useless')
  const dir = mkdtempSync(join(tmpdir(), 'sp-bench-copied-'))
  const server = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  try {
    const password = 'copied4horse'
    const admin = new pg.Client({ connectionString: server.url })
    await admin.connect()
    await admin.query('CREATE TABLE payments (id int); INSERT INTO payments VALUES (1)')
    await createAccount(admin, {
      role: 'sp_bench_copied',
      database: 'postgres',
      account: {
        agent: 'caller',
        ttlSeconds: 900,
        maxTtlSeconds: 900,
        maxConnections: 4,
        statementTimeoutMs: 4000,
        grants: [{ schema: 'public', table: 'payments', columns: ['id'], actions: ['select'] }],
      },
      login: { kind: 'password', verifier: scramVerifier(password), seconds: 60 },
      comment: 'bench',
    })
    const from = performance.now()
    let last = 0
    let refused = 0
    while (refused < 5 && performance.now() - from < 120_000) {
      if (await opens(server.url, password)) {
        last = (performance.now() - from) / 1000
        refused = 0
      } else refused++
      await sleep(500)
    }
    await admin.end()
    return [
      bounded('a copied database password: last new session that it opens', last, 's', '<=', 60),
    ]
  } finally {
    await server.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function opens(url: string, password: string): Promise<boolean> {
  const host = new URL(url).searchParams.get('host') ?? ''
  const client = new pg.Client({ host, database: 'postgres', user: 'sp_bench_copied', password })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('SELECT id FROM payments')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}
