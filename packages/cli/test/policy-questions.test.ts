import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { canonicalJson } from '@sallyport/base'
import { createDecider } from '@sallyport/decide'
import { loadDeclaration } from '@sallyport/network'
import { openLog } from '@sallyport/tlog'
import { encodeRecord } from '@sallyport/wire'
import type { DecisionRecord } from '@sallyport/wire'

const BIN = join(import.meta.dirname, '../bin/sallyport.ts')
const MERIDIAN = join(import.meta.dirname, '../../../examples/meridian')
const ORIGIN = 'meridian.example/gateway/gw1'
const AT = Date.parse('2026-11-20T10:00:00Z')

const data = mkdtempSync(join(tmpdir(), 'sp-questions-'))
after(() => rmSync(data, { recursive: true, force: true }))

function policy(...args: string[]) {
  const options = { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } } as const
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, 'policy', ...args], options)
  return { status, stdout, stderr }
}

const ask = (...args: string[]) => policy(...args, '--network', MERIDIAN)

test('who-can, what-can and what-if answer from a declaration, as text and as JSON', () => {
  const who = ask('who-can', 'case-store.file_sar')
  assert.equal(who.status, 0, who.stderr)
  assert.match(who.stdout, /^APPROVAL {2}sar-filer {2}needs 1 approval$/m)
  const json: unknown = JSON.parse(ask('who-can', 'case-store.file_sar', '--json').stdout)
  assert.ok(Array.isArray(json) && json.length === 8)
  const what = ask('what-can', 'pattern-analyst')
  assert.match(what.stdout, /fields tokenise: transactions\.from, transactions\.to/)
  const moved = ask('what-if', 'contacts.email', '--class', 'restricted', '--tags', 'sar')
  assert.match(
    moved.stdout,
    /TREATMENT notifier → pii-vault\.getContact {2}contacts\.email: whole → drop/,
  )
  assert.match(ask('what-if', 'contacts.email', '--tags', 'contact').stdout, /nothing changes/)
})

test('what nobody declared, and what makes no sense, is a usage error', () => {
  for (const args of [
    ['who-can', 'core-banking.nothing'],
    ['what-if', 'contacts.email'],
    ['what-if', 'contacts.email', '--tags', 'a b'],
  ]) {
    const { status, stdout, stderr } = ask(...args)
    assert.equal(status, 2, `${args.join(' ')}: ${stderr}`)
    assert.equal(stdout, '')
    assert.match(stderr, /SP_USAGE_/)
  }
})

test('unused counts what recorded decisions used, and trusts no log that was changed', async () => {
  const declaration = await loadDeclaration({ networkFile: join(MERIDIAN, 'network.yaml') })
  const decider = await createDecider({ declaration })
  const dir = join(data, 'gateway/gw1/log')
  mkdirSync(dir, { recursive: true })
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  writeFileSync(join(dir, 'origin'), `${ORIGIN}\n`)
  writeFileSync(join(dir, '../log.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
  const log = await openLog({ dir, origin: ORIGIN, signer: privateKey })
  const hash = createHash('sha256').update(canonicalJson(declaration)).digest('hex')
  assert.equal(hash, decider.digest)
  const calls: [agent: string, system: string, operation: string, input: object, risk: number][] = [
    ['monitor', 'core-banking', 'getAccount', { accountId: 'a' }, 0],
    ['monitor', 'core-banking', 'getAccount', { accountId: 'b' }, 0],
    ['pattern-analyst', 'core-banking', 'listTransactions', {}, 90],
    ['account-flagger', 'case-store', 'list_rings', {}, 0],
  ]
  for (const [i, [agent, system, operation, input, risk]] of calls.entries()) {
    const instance = `spiffe://meridian.example/agent/${agent}/1`
    const at = AT + i * 60_000
    const outcome = decider.decide(
      {
        instance,
        agent,
        system,
        operation,
        input: { ...input },
        time: at,
        evidence: { approvals: [] },
      },
      { labels: [], risk },
    )
    const record: DecisionRecord = {
      v: 1,
      at,
      gateway: 'gw1',
      kind: 'decision',
      id: `dec_${i}`,
      instance,
      agent,
      system,
      operation,
      decision: outcome.decision,
      code: outcome.code,
      reasons: outcome.reasons,
      errors: [],
      needs: [],
      decidedAt: at,
      revision: { epoch: 1, n: 1 },
      declarationDigest: i === 0 ? '0'.repeat(64) : decider.digest,
      stateDigest: '1'.repeat(64),
      labels: [],
      risk,
      requestHash: '2'.repeat(64),
      peer: { serial: 'ab' },
    }
    await log.append(Buffer.from(encodeRecord(record)))
  }
  await log.checkpoint()
  await log.close()
  const unused = (...more: string[]) =>
    policy('unused', '--data', data, '--network', MERIDIAN, ...more)
  const answer = unused('--json')
  assert.equal(answer.status, 0, answer.stderr)
  // The command's own documented output.
  const report = JSON.parse(answer.stdout) as {
    decisions: number
    otherDeclaration: number
    flows: {
      agent: string
      operation: string
      allowed: { count: number; lastAt?: number }
      refused: { count: number }
    }[]
    policies: { id: string; used: { count: number; lastAt?: number } }[]
  }
  assert.deepEqual([report.decisions, report.otherDeclaration], [4, 1])
  const flow = (agent: string, operation: string) =>
    report.flows.find((each) => each.agent === agent && each.operation === operation)
  assert.deepEqual(flow('monitor', 'core-banking.getAccount')?.allowed, {
    count: 2,
    lastAt: AT + 60_000,
  })
  const refused = flow('pattern-analyst', 'core-banking.listTransactions')
  assert.deepEqual([refused?.allowed.count, refused?.refused.count], [0, 1])
  const used = new Map(report.policies.map((each) => [each.id, each.used.count]))
  assert.equal(used.get('monitor.reads'), 2)
  assert.equal(used.get('bounds.risk-stops-everything'), 1)
  assert.equal(used.get('flagger.large-hold-with-approval'), 0)
  // Of the fields: six of two accounts.
  assert.equal(used.get('fields.monitor-sees-accounts'), 12)
  assert.equal(used.get('fields.rings-for-those-who-follow-up'), 6)
  assert.equal(used.get('fields.notifier-sees-address-to-write-to'), 0)
  const text = unused().stdout
  assert.match(text, /^ {2}flagger\.large-hold-with-approval$/m)
  assert.match(
    text,
    /pattern-analyst → core-banking\.listTransactions {2}\(refused 1 time, last 2026-11-20T10:02:00Z\)/,
  )
  const later = JSON.parse(
    unused('--since', '2026-11-20T10:02:30Z', '--json').stdout,
  ) as typeof report
  assert.equal(later.decisions, 1)
  // A record changed after the fact: nothing may be concluded.
  const segment = join(dir, '00000000.seg')
  const bytes = readFileSync(segment)
  bytes[bytes.indexOf('monitor')] = 0x4d
  writeFileSync(segment, bytes)
  const tampered = unused('--json')
  assert.notEqual(tampered.status, 0)
  assert.match(tampered.stdout, /^\{"error":\{"code":"SP_LOG_TAMPERED"/)
})
