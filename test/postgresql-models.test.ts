import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { after, before, test } from 'node:test'
import type { IncomingMessage } from 'node:http'
import type { PolicySource } from '@sallyport/network'
import type { IdentityMaterial } from '@sallyport/transport'
import pg from 'pg'
import { ModelServer, modelSystem } from '../packages/gateway/test/support/models.ts'
import { SCHEMA } from './support/sql/schema.ts'
import { startSqlWorld, tls } from './support/sql/world.ts'
import type { SqlWorld } from './support/sql/world.ts'

const POLICIES: Readonly<Record<string, string>> = {
  'clerks-see-owners': `
    permit(principal in Role::"writes", action == Action::"field.read", resource == Field::"accounts.owner");`,
  'clerks-see-memos': `
    permit(principal in Role::"writes", action == Action::"field.read", resource == Field::"payments.memo");`,
}

const server = new ModelServer()
let world: SqlWorld
let number = 0

before(async () => {
  await server.listen()
  server.answer = (_asked, res) => {
    res.writeHead(200, { 'content-type': 'application/json' })
    const message = { role: 'assistant', content: 'done' }
    const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }
    const choices = [{ index: 0, message, finish_reason: 'stop' }]
    res.end(
      JSON.stringify({
        id: 'c',
        object: 'chat.completion',
        created: 1,
        model: 'm',
        choices,
        usage,
      }),
    )
  }
  const models = [{ name: 'm', maxOutputTokens: 100 }]
  const systems = [
    modelSystem('vendor', server, { dialect: 'openai', models }),
    modelSystem('own', server, { dialect: 'openai', mayRead: 'restricted', models }),
  ]
  world = await startSqlWorld(
    SCHEMA,
    ({ network, policies }) => ({
      network: {
        ...network,
        systems: [...network.systems, ...systems],
        flows: [
          ...network.flows,
          ...systems.map(({ name, operations }) => ({
            ...{ id: `clerk-${name}`, from: 'clerk', to: name, purpose: 'asking' },
            operations: operations.map((one) => one.name),
          })),
        ],
      },
      policies: [
        ...policies,
        ...Object.entries(POLICIES).map(([id, source]): PolicySource => ({
          ...{ id, source, file: 'x.cedar', line: 1 },
        })),
      ],
    }),
    { secrets: { 'ledger-password': 'only-the-gateway-knows', 'model-key': 'k' } },
  )
})
after(async () => {
  await world?.close()
  server.close()
})

/** One instance of the clerk, that reads by SQL and asks models. */
class Clerk {
  readonly #material: IdentityMaterial = world.material('clerk', `m${++number}`)

  async read(query: string | pg.QueryConfig): Promise<pg.QueryArrayResult> {
    const client = world.client('clerk', { ssl: tls(this.#material) })
    await client.connect()
    try {
      const config = typeof query === 'string' ? { text: query } : query
      return await client.query({ ...config, rowMode: 'array' })
    } finally {
      await client.end()
    }
  }

  /** @returns what reached the vendor, or the code of the refusal */
  async ask(content: string, system = 'vendor'): Promise<string> {
    const { chainPem, keyPem, rootsPem } = this.#material
    const { host, port } = world.gateway.address
    const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] })
    const agent = new Agent({
      ...{ cert: chainPem, key: keyPem, ca: rootsPem, checkServerIdentity: () => undefined },
      ALPNProtocols: ['http/1.1'],
    })
    const req = request({
      ...{ host, port, agent, method: 'POST', path: `/${system}/v1/chat/completions` },
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    })
    req.end(body)
    // Of a response event.
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of res) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    if (res.statusCode === 200) return server.last.text
    return /SP_[A-Z_]+/.exec(text)?.[0] ?? text
  }
}

/** Whatever comes is left as it came. */
const BINARY = { types: { getTypeParser: () => (value: unknown) => value }, binary: true }

/** The owner of an account, and their balance in figures that are long enough to be told from others. */
const OWNER = 'Owner 21'
const BALANCE = '4444210'

test('a name that an agent read by SQL does not reach a vendor that may not have it', async () => {
  await world.owner.query(`UPDATE accounts SET balance = ${BALANCE} WHERE id = 22`)
  const clerk = new Clerk()
  const { rows } = await clerk.read(
    'SELECT owner, balance FROM accounts WHERE id IN (22, 26) ORDER BY id',
  )
  assert.deepEqual(rows, [
    ['Owner 22', BALANCE],
    ['Owner 26', '260'],
  ])
  const text = `Write to Owner 22, who has ${BALANCE}, and not to Owner 25.`
  const sent = await clerk.ask(text)
  assert.match(sent, /Write to RECORD_\w+, who has RECORD_\w+, and not to Owner 25\./)
  assert.ok((await clerk.ask(text, 'own')).includes(text))
  assert.ok((await new Clerk().ask(text)).includes(text))
})

test('whatever way it leaves the database', async (t) => {
  const ways: readonly (string | pg.QueryConfig)[] = [
    'SELECT * FROM accounts WHERE id = 21',
    'SELECT x.o FROM (SELECT owner AS o FROM accounts WHERE id = 21) AS x',
    'WITH x (a, b) AS (SELECT id, owner FROM accounts) SELECT b FROM x WHERE a = 21',
    'SELECT id::text, owner FROM accounts WHERE id = 21 UNION ALL SELECT $$x$$, $$y$$',
    `SELECT coalesce(upper(owner), '-') FROM accounts WHERE id = 21`,
    'SELECT min(owner) FROM accounts WHERE id = 21',
    'SELECT owner::varchar FROM accounts WHERE id = 21',
    { text: 'SELECT owner FROM accounts WHERE id = $1', values: [21] },
    { text: 'SELECT owner FROM accounts WHERE id = $1', values: [21], ...BINARY },
    'UPDATE accounts SET open = true WHERE id = 21 RETURNING owner',
  ]
  await world.owner.query(`UPDATE accounts SET owner = '${OWNER}' WHERE id = 21`)
  for (const way of ways) {
    await t.test(typeof way === 'string' ? way : `${way.text} ${way.name ?? ''}`, async () => {
      const clerk = new Clerk()
      assert.match(JSON.stringify((await clerk.read(way)).rows), /owner 21|79,119,110,101,114/i)
      const sent = await clerk.ask(`about ${OWNER}`)
      assert.match(sent, /about RECORD_/)
      assert.match(await clerk.ask('about Owner 1'), /about Owner 1/)
    })
  }
})

test('numbers are found too, as they were sent', async (t) => {
  for (const way of [
    'SELECT balance FROM accounts WHERE id = 22',
    'SELECT balance + 0 FROM accounts WHERE id = 22',
    'SELECT sum(balance) FROM accounts WHERE id = 22',
    { text: 'SELECT balance FROM accounts WHERE id = $1', values: [22], ...BINARY },
  ]) {
    await t.test(JSON.stringify(way), async () => {
      const clerk = new Clerk()
      await clerk.read(way)
      assert.match(await clerk.ask(`is ${BALANCE} much`), /is RECORD_\w+ much/)
    })
  }
})

test('what leaves in pieces is not taken for known', async (t) => {
  for (const way of [
    `SELECT string_agg(owner, ',') FROM accounts`,
    `SELECT owner || ' of ' || iban FROM accounts`,
    'SELECT left(owner, 3) FROM accounts',
    'SELECT owner::varchar(3) FROM accounts',
    'SELECT (SELECT owner FROM accounts WHERE id = 21)',
    'SELECT to_jsonb(owner) FROM accounts',
    'SELECT array_agg(owner) FROM accounts',
  ]) {
    await t.test(way, async () => {
      const clerk = new Clerk()
      await clerk.read(way)
      assert.equal(await clerk.ask('hello'), 'SP_LLM_UNTRACKED')
      assert.match(await clerk.ask('hello', 'own'), /hello/)
    })
  }
})

test('what shows nothing above the vendor’s class leaves no trace', async (t) => {
  for (const way of [
    'SELECT id, branch, opened FROM accounts',
    'SELECT count(*) FROM accounts WHERE balance > 5',
    'SELECT owner FROM accounts WHERE id = -1',
    `SELECT string_agg(branch, ',') FROM accounts`,
    'SELECT 1',
  ]) {
    await t.test(way, async () => {
      const clerk = new Clerk()
      await clerk.read(way)
      assert.match(await clerk.ask(`hello ${OWNER}`), /hello Owner 21/)
    })
  }
})
