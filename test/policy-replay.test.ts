/** A real run of Meridian, then drafts that decide some of its calls otherwise. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createPublicKey, createSecretKey, generateKeyPairSync } from 'node:crypto'
import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { RefusedError } from '@sallyport/agent'
import type { AgentClient, ServiceHandler } from '@sallyport/agent'
import { loadDeclaration } from '@sallyport/network'
import { replay } from '@sallyport/policy'
import { openKeyring } from '@sallyport/seal'
import { openLog } from '@sallyport/tlog'
import { encodeRecord } from '@sallyport/wire'
import type { AuditRecord } from '@sallyport/wire'
import { readLog } from './support/audit.ts'
import { World } from './support/world.ts'

const MERIDIAN = join(import.meta.dirname, '../examples/meridian')
const BIN = join(import.meta.dirname, '../packages/cli/bin/sallyport.ts')

/** Answers nothing: what is recorded of a decision does not depend on it. */
const silent: ServiceHandler = (_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end('{}')
}

type Told = { readonly code: string; readonly approval: string }

async function told(call: Promise<unknown>): Promise<Told> {
  try {
    await call
    return { code: 'SP_ALLOWED', approval: '' }
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error
    return { code: error.code, approval: error.needs?.[0]?.approval ?? '' }
  }
}

const hold = (
  client: AgentClient,
  account: string,
  amount: number,
  approval = '',
): Promise<Told> => {
  const body = { amount, currency: 'EUR', reason: 'ring', caseId: 'case-1' }
  const evidence = approval === '' ? {} : { approval }
  const path = `/core-banking/v1/accounts/${account}/holds`
  // Of which trace a call is decides nothing.
  const headers = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' }
  return told(client.request({ method: 'POST', path, body, headers, ...evidence }))
}

/** Runs Meridian for a few calls and leaves its data directory as it is after the gateway stopped. */
async function record(t: { after(fn: () => unknown): void }): Promise<World> {
  const services = Object.fromEntries(
    ['core-banking', 'pii-vault', 'case-store', 'messages'].map((name) => [name, silent]),
  )
  const networkFile = join(MERIDIAN, 'network.yaml')
  const world = await World.start({ networkFile, services })
  t.after(() => world.stop())
  const operator = await world.operator()
  const flagger = await world.caller('account-flagger')
  const analyst = await world.caller('pattern-analyst')
  const got: Told[] = [
    await hold(flagger, 'ACC-1', 500_000),
    await hold(flagger, 'ACC-2', 1_000_000),
    await hold(flagger, 'ACC-3', 1_500_000),
    await hold(flagger, 'ACC-4', 2_500_000),
  ]
  const [, , asked] = got
  await operator.decidePending()
  await flagger.awaitApproval(asked?.approval ?? '', { timeoutMs: 5000 })
  got.push(await hold(flagger, 'ACC-3', 1_500_000, asked?.approval))
  const list = { method: 'GET' as const, path: '/core-banking/v1/transactions' }
  got.push(await told(analyst.request(list)))
  // Not declared for the analyst, and no operation at all.
  got.push(await told(analyst.request({ method: 'GET', path: '/core-banking/v1/holds' })))
  got.push(await told(analyst.request({ method: 'GET', path: '/core-banking/v1/nothing' })))
  const [ok, needs] = ['SP_ALLOWED', 'SP_NEEDS_APPROVAL']
  assert.deepEqual(
    got.map(({ code }) => code),
    [ok, ok, needs, needs, ok, ok, 'SP_NO_FLOW', 'SP_NO_OPERATION'],
  )
  await flagger.close()
  await analyst.close()
  await world.gateway.stop()
  return world
}

interface Report {
  readonly log: { readonly verified: boolean }
  readonly decisions: number
  readonly replayed: number
  readonly selfCheck: {
    readonly reproduced: number
    readonly of: number
    readonly failures: readonly { readonly why: string }[]
  }
  readonly notReplayed: readonly { readonly reason: string; readonly count: number }[]
  readonly unchanged: number
  readonly widened: number
  readonly narrowed: number
  readonly changes: readonly {
    readonly direction: string
    readonly agent: string
    readonly operation: string
    readonly before: { readonly decision: string; readonly policies: readonly string[] }
    readonly after: { readonly decision: string; readonly policies: readonly string[] }
    readonly fields: readonly object[]
    readonly count: number
    readonly examples: readonly { readonly id: string }[]
  }[]
}

/** The engine in this process, which is what the command runs. */
async function engine(
  data: string,
  draft: string,
  since?: number,
  until?: number,
): Promise<Report> {
  const gatewayDir = join(data, 'gateway/gw1')
  return replay({
    gatewayDir,
    origin: readFileSync(join(gatewayDir, 'log/origin'), 'utf8').trim(),
    publicKey: createPublicKey(readFileSync(join(gatewayDir, 'log.pub'))),
    draft: await loadDeclaration({ networkFile: join(draft, 'network.yaml') }),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  })
}

function run(data: string, draft: string, ...more: string[]): { status: number; report: Report } {
  const args = ['policy', 'replay', '--draft', draft, '--data', data, '--json', ...more]
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], {
    encoding: 'utf8',
  })
  assert.ok(stdout.startsWith('{'), stderr)
  // The command's own documented output.
  return { status: status ?? -1, report: JSON.parse(stdout) as Report }
}

test('a recorded run replayed under drafts', async (t) => {
  const world = await record(t)
  const { data, gatewayDir } = world
  const scratch = mkdtempSync(join(tmpdir(), 'sp-replay-'))
  t.after(() => {
    rmSync(scratch, { recursive: true, force: true })
  })
  let drafts = 0
  /** Meridian with one text of one policy file replaced. */
  const draft = (file: string, from: string, to: string): string => {
    const dir = join(scratch, `draft-${drafts++}`)
    for (const part of ['network.yaml', 'policies', 'openapi', 'mcp']) {
      cpSync(join(MERIDIAN, part), join(dir, part), { recursive: true })
    }
    const path = join(dir, 'policies', file)
    const text = readFileSync(path, 'utf8')
    assert.ok(text.includes(from))
    writeFileSync(path, text.replaceAll(from, to))
    return dir
  }

  await t.test(
    'the declaration that decided changes nothing, and every decision is reproduced',
    () => {
      const { status, report } = run(data, MERIDIAN)
      assert.equal(status, 0)
      assert.equal(report.log.verified, true)
      assert.deepEqual(report.selfCheck, { reproduced: 7, of: 7, failures: [] })
      assert.equal(report.unchanged, 7)
      assert.deepEqual(
        report.notReplayed.map(({ reason, count }) => [reason, count]),
        [['no-operation', 1]],
      )
      assert.equal(report.decisions, 8)
    },
  )

  await t.test('a raised threshold is caught: what needed an approval would not', async () => {
    const wider = draft('30-holds.cedar', '1000000', '2000000')
    const { status, report } = run(data, wider, '--fail-on', 'widened')
    assert.equal(status, 1)
    assert.equal(report.selfCheck.reproduced, 7)
    assert.deepEqual([report.widened, report.narrowed, report.unchanged], [1, 0, 6])
    const [change] = report.changes
    assert.equal(change?.direction, 'widened')
    assert.equal(change.operation, 'core-banking.placeHold')
    assert.equal(change.before.decision, 'needs')
    assert.deepEqual(change.before.policies, [])
    assert.equal(change.after.decision, 'allow')
    assert.deepEqual(change.after.policies, ['flagger.small-hold'])
    const { all } = await readLog(gatewayDir)
    const found = all.find((one) => one.kind === 'decision' && one.id === change.examples[0]?.id)
    assert.ok(found?.kind === 'decision')
    assert.equal(found.decision, 'needs')
  })

  await t.test('a lowered threshold narrows, which `--fail-on widened` lets pass', () => {
    const narrower = draft('30-holds.cedar', '1000000', '700000')
    const { status, report } = run(data, narrower)
    assert.equal(status, 1)
    assert.deepEqual([report.widened, report.narrowed], [0, 1])
    assert.equal(report.changes[0]?.before.decision, 'allow')
    assert.equal(report.changes[0].after.decision, 'needs')
    assert.equal(run(data, narrower, '--fail-on', 'widened').status, 0)
  })

  await t.test('a field that leaves less strictly is widened', async () => {
    const text = 'principal in Agent::"pattern-analyst", action == Action::"field.tokenise"'
    const wider = draft('10-fields.cedar', text, text.replace('tokenise', 'read'))
    const report = await engine(data, wider)
    assert.deepEqual([report.widened, report.narrowed], [1, 0])
    assert.deepEqual(report.changes[0]?.fields, [
      { field: 'transactions.from', before: 'tokenise', after: 'whole' },
      { field: 'transactions.to', before: 'tokenise', after: 'whole' },
    ])
  })

  await t.test('a span leaves the rest out', async () => {
    assert.equal((await engine(data, MERIDIAN, undefined, 1e12)).decisions, 0)
    const { status, report } = run(data, MERIDIAN, '--since', '1h')
    assert.equal(status, 0)
    assert.equal(report.decisions, 8)
  })

  await t.test('what the log does not hold is counted, never guessed', async () => {
    const copy = join(scratch, 'erased')
    cpSync(join(data, 'gateway'), join(copy, 'gateway'), { recursive: true })
    const dir = join(copy, 'gateway/gw1')
    const kek = createSecretKey(
      Buffer.from(readFileSync(join(dir, 'seal.key'), 'utf8').trim(), 'base64url'),
    )
    const keyring = await openKeyring({ dir: join(dir, 'keyring'), kek })
    assert.equal(await keyring.erase('subject:ACC-3'), true)
    await keyring.close()
    const report = await engine(copy, MERIDIAN)
    assert.deepEqual(
      report.notReplayed.map(({ reason, count }) => [reason, count]),
      [
        ['erased', 2],
        ['no-operation', 1],
      ],
    )
    assert.deepEqual([report.selfCheck.reproduced, report.selfCheck.of], [5, 5])
    // One byte more, and it is another declaration than the one that decided.
    const kept = join(dir, 'declarations')
    for (const name of readdirSync(kept)) appendFileSync(join(kept, name), ' ')
    const other = await engine(copy, MERIDIAN)
    assert.equal(other.replayed, 0)
    rmSync(kept, { recursive: true })
    const bare = await engine(copy, MERIDIAN)
    assert.equal(bare.replayed, 0)
    assert.equal(bare.notReplayed.find((r) => r.reason === 'declaration-missing')?.count, 7)
  })

  await t.test('a log that does not verify is not replayed unless asked for, and says so', () => {
    const copy = join(scratch, 'tampered')
    cpSync(join(data, 'gateway'), join(copy, 'gateway'), { recursive: true })
    const segment = join(copy, 'gateway/gw1/log/00000000.seg')
    const bytes = readFileSync(segment)
    bytes[bytes.indexOf('pattern-analyst')] = 0x50
    writeFileSync(segment, bytes)
    const args = ['policy', 'replay', '--draft', MERIDIAN, '--data', copy]
    const refused = spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8' })
    assert.equal(refused.status, 7)
    assert.match(refused.stderr, /SP_LOG_T/)
    const { report } = run(copy, MERIDIAN, '--allow-unverified')
    assert.equal(report.log.verified, false)
  })

  await t.test('a record that the declaration does not give fails the self-check', async () => {
    const copy = join(scratch, 'forged')
    cpSync(join(data, 'gateway'), join(copy, 'gateway'), { recursive: true })
    const dir = join(copy, 'gateway/gw1')
    const { all } = await readLog(dir)
    rmSync(join(dir, 'log'), { recursive: true })
    cpSync(join(data, 'gateway/gw1/log/origin'), join(dir, 'log/origin'))
    const origin = readFileSync(join(dir, 'log/origin'), 'utf8').trim()
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    writeFileSync(join(dir, 'log.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
    const log = await openLog({ dir: join(dir, 'log'), origin, signer: privateKey })
    const kek = createSecretKey(
      Buffer.from(readFileSync(join(dir, 'seal.key'), 'utf8').trim(), 'base64url'),
    )
    const keyring = await openKeyring({ dir: join(dir, 'keyring'), kek })
    let forged = 0
    for (const one of all) {
      let record: AuditRecord = one
      if (one.kind === 'decision' && one.decision === 'allow' && forged++ < 3) {
        // The first with another reason; the second as a gateway writes an input that is too long for the log.
        const cut = Buffer.from('{"bytes":30000,"sha256":"","start":"{","truncated":true}')
        const input = await keyring.seal('agent:account-flagger', cut, `${one.id}/input`)
        // The third with a payment that its digest does not know of: what is sealed beside the input is read as well.
        const paid = Buffer.from('{"amount":1,"by":"operator:o","creditor":"a","currency":"EUR"}')
        const payment = await keyring.seal('agent:account-flagger', paid, `${one.id}/payment`)
        record =
          [
            { ...one, reasons: ['flagger.reads'] },
            { ...one, input },
            { ...one, payment },
          ][forged - 1] ?? one
      }
      await log.append(encodeRecord(record))
    }
    await keyring.close()
    await log.checkpoint()
    await log.close()
    const { status, report } = run(copy, MERIDIAN)
    assert.equal(status, 7)
    assert.deepEqual([report.selfCheck.reproduced, report.selfCheck.of], [4, 6])
    assert.ok(report.notReplayed.some((r) => r.reason === 'input-truncated' && r.count === 1))
    assert.match(report.selfCheck.failures[0]?.why ?? '', /flagger\.reads.*flagger\.small-hold/)
  })
})
