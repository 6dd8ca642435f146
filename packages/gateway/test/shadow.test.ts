/** The declaration in shadow: it is told apart, and cannot touch what it is compared with. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { createDecider } from '@sallyport/decide'
import type { Call, Decider, Outcome, SessionState } from '@sallyport/decide'
import { loadDeclaration } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import type { ShadowDeclaration } from '@sallyport/wire'
import { Shadow } from '../src/state/shadow.ts'

const networkFile = new URL('../../../test/support/declaration/network.yaml', import.meta.url)
const declaration = await loadDeclaration({ networkFile: networkFile.pathname })
const live = await createDecider({ declaration })

const call = (over: Partial<Call> = {}): Call => ({
  instance: 'spiffe://test.example/agent/clerk/1',
  agent: 'clerk',
  system: 'ledger',
  operation: 'post',
  input: { ref: 'r', amount: 5 },
  time: 1_800_000_000_000,
  evidence: { approvals: [] },
  ...over,
})
const session: SessionState = { labels: [], risk: 0 }

const withPolicy = (source: string, id = 'draft'): Declaration => ({
  ...declaration,
  policies: [...declaration.policies, { id, source, file: 'draft.cedar', line: 1 }],
})
const shadowOf = (draft: Declaration): ShadowDeclaration<Declaration> => ({
  digest: declarationDigest(draft),
  declaration: draft,
})

interface Bench {
  readonly shadow: Shadow
  readonly events: (readonly [string, Readonly<Record<string, unknown>>])[]
  now: number
}

function bench(build?: (draft: Declaration) => Promise<Decider>): Bench {
  const events: Bench['events'] = []
  const made: Bench = {
    now: 0,
    events,
    shadow: new Shadow({
      clock: { now: () => 0, monotonic: () => made.now },
      onEvent: (event, { code, facts }) => {
        events.push([event, { ...(code === undefined ? {} : { code }), ...facts }])
      },
      ...(build && { build }),
    }),
  }
  return made
}

const compare = (made: Bench, asked: Call) =>
  made.shadow.compare(asked, session, live.decide(asked, session), live.digest)

test('only what differs is said: wider, narrower, other approvals, other fields', async (t) => {
  const made = bench()
  t.after(() => made.shadow.close())
  assert.equal(compare(made, call()), undefined)
  const draft = withPolicy(`
    permit (principal, action == Action::"ledger.seize", resource);`)
  const wider: Declaration = {
    ...draft,
    policies: [
      ...draft.policies.filter(({ id }) => id !== 'clerk.posts-small'),
      ...[
        'forbid (principal, action == Action::"desk.add_note", resource);',
        'permit (principal, action == Action::"field.mask", resource);',
      ].map((source, i) => ({ id: `more${i}`, source, file: 'draft.cedar', line: 1 })),
    ],
  }
  made.shadow.want(shadowOf(wider))
  await made.shadow.settled()
  const { digest } = shadowOf(wider)
  assert.equal(compare(made, call({ operation: 'purge', input: { entryId: '1' } })), undefined)
  const seized = compare(made, call({ operation: 'seize' }))
  const changes = ['field entries.holder: drop to mask']
  assert.deepEqual(seized, { digest, decision: 'allow', code: 'SP_ALLOWED' })
  const note = { system: 'desk', operation: 'add_note', input: { ref: 'r', words: 1 } }
  assert.deepEqual(compare(made, call(note)), {
    ...{ digest, decision: 'deny', code: 'SP_DENIED_FORBIDDEN' },
  })
  assert.deepEqual(compare(made, call()), {
    ...{ digest, decision: 'deny', code: 'SP_DENIED_NOT_PERMITTED' },
  })
  const read = call({ operation: 'getEntry', input: { entryId: '1' } })
  assert.deepEqual(compare(made, read), {
    ...{ digest, decision: 'allow', code: 'SP_ALLOWED', changes },
  })
  made.shadow.report()
  assert.deepEqual(made.events, [
    ['shadow-ready', { digest }],
    [
      'shadow-counts',
      { digest, against: live.digest, agreed: 1, differed: 4, failed: 0, skipped: 0 },
    ],
  ])
})

test('a shadow that cannot be built, or whose policies err, stands in nobody’s way', async (t) => {
  const made = bench()
  t.after(() => made.shadow.close())
  made.shadow.want(shadowOf(withPolicy('permit (principal, action, resource) when {')))
  await made.shadow.settled()
  assert.equal(compare(made, call()), undefined)
  assert.match(String(made.events[0]?.[1]['code']), /^SP_CEDAR_/)
  // What no type checker has seen: a hostile control plane sends what it likes.
  for (const odd of [null, 7, 'x', {}, { network: null }, { network: {}, policies: 'x' }]) {
    made.shadow.want({ digest: declarationDigest(odd), declaration: odd as unknown as Declaration })
    await made.shadow.settled()
    assert.equal(compare(made, call()), undefined)
  }
  assert.ok(made.events.every(([event]) => event === 'shadow-refused'))
  const errs = withPolicy(
    'forbid (principal, action, resource) when { 9223372036854775807 + context.time.weekday > 0 };',
  )
  made.shadow.want(shadowOf(errs))
  await made.shadow.settled()
  assert.equal(compare(made, call())?.code, 'SP_DENIED_POLICY_ERROR')
  assert.equal(live.decide(call(), session).decision, 'allow')
})

test('a decider that throws is counted and nothing more', async (t) => {
  const made = bench(async () => ({
    ...live,
    digest: 'd'.repeat(64),
    decide(): Outcome {
      throw new Error('broken')
    },
  }))
  t.after(() => made.shadow.close())
  made.shadow.want(shadowOf(withPolicy('permit (principal, action, resource);')))
  await made.shadow.settled()
  assert.equal(compare(made, call()), undefined)
  made.shadow.report()
  assert.equal(made.events.at(-1)?.[1]['failed'], 1)
})

test('names of a hostile declaration cannot make the record of a call impossible', async (t) => {
  const long = 'x'.repeat(100_000)
  const outcome = live.decide(call(), session)
  const limit = { id: long, description: '', agents: [], operations: [], windowSeconds: 1 }
  const made = bench(async () => ({
    ...live,
    digest: 'd'.repeat(64),
    decide: () => ({
      ...outcome,
      limits: Array.from({ length: 99 }, (_, i) => ({ ...limit, id: long + i })),
    }),
  }))
  t.after(() => made.shadow.close())
  made.shadow.want(shadowOf(withPolicy('permit (principal, action, resource);')))
  await made.shadow.settled()
  const { changes = [] } = compare(made, call()) ?? {}
  assert.equal(changes.length, 32)
  assert.ok(changes.every((text) => text.length <= 160))
})

test('time spent in shadow is bounded: calls are left out of it, and a slow one ends it', async (t) => {
  let takes = 10
  let decided = 0
  const made = bench(async () => ({
    ...live,
    digest: 'd'.repeat(64),
    decide(asked, state) {
      made.now += takes
      decided++
      return live.decide(asked, state)
    },
  }))
  t.after(() => made.shadow.close())
  made.shadow.want(shadowOf(withPolicy('permit (principal, action, resource);')))
  await made.shadow.settled()
  for (let i = 0; i < 8; i++) compare(made, call())
  made.shadow.report()
  const counts = made.events.at(-1)?.[1]
  assert.deepEqual([counts?.['agreed'], counts?.['skipped']], [5, 3])
  // The next second it goes on; a slow one now and then is no reason to stop.
  for (let second = 1; second <= 6; second++) {
    made.now = second * 1000
    takes = second === 1 || second === 3 ? 26 : 1
    compare(made, call())
  }
  assert.ok(made.events.every(([event]) => event !== 'shadow-stopped'))
  takes = 60
  for (let second = 7; second <= 20; second++) {
    made.now = second * 1000
    for (let i = 0; i < 3; i++) compare(made, call())
  }
  assert.equal(made.events.at(-1)?.[0], 'shadow-stopped')
  assert.equal(decided, 5 + 6 + 5)
})

test('the newest one wanted is the one that is built, and none where none is wanted', async (t) => {
  const made = bench()
  t.after(() => made.shadow.close())
  const drafts = ['a', 'b', 'c'].map((id) =>
    shadowOf(withPolicy('permit (principal, action == Action::"ledger.seize", resource);', id)),
  )
  for (const draft of drafts) made.shadow.want(draft)
  await made.shadow.settled()
  assert.equal(compare(made, call({ operation: 'seize' }))?.digest, drafts[2]?.digest)
  made.shadow.want(undefined)
  assert.equal(compare(made, call({ operation: 'seize' })), undefined)
})
