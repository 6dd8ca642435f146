/** A task from a person, through an agent to another one, and its end: real processes, real PostgreSQL, real TLS. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, delegate, RefusedError } from '@sallyport/agent'
import type { AgentClient, ServiceHandler } from '@sallyport/agent'
import type { CallToken } from '@sallyport/wire'
import { selfCommand } from '../packages/cli/src/supervise.ts'
import { list, members, textOf } from '../packages/cli/src/shape.ts'
import { World } from './support/world.ts'

const NETWORK = join(import.meta.dirname, 'support/declaration/network.yaml')

async function codeOf(act: Promise<unknown>): Promise<string> {
  try {
    await act
    return 'SP_ALLOWED'
  } catch (error) {
    if (error instanceof RefusedError) return error.code
    throw error
  }
}

test('a task is given, passed on, counted, shown and ended', async (t) => {
  const seen: CallToken[] = []
  const ledger: ServiceHandler = (_request, response, call) => {
    seen.push(call)
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end('{}')
  }
  const world = await World.start({
    networkFile: NETWORK,
    services: { ledger, desk: ledger },
  })
  t.after(() => world.stop())
  const operator = await world.operator()
  const [lead, helper] = [await world.join('agent', 'clerk'), await world.join('agent', 'clerk')]
  const client = (identity: typeof lead): AgentClient => {
    const made = createClient({ identity, gateway: world.gatewayTarget })
    t.after(async () => {
      identity.stop()
      await made.close()
    })
    return made
  }
  const [first, second] = [client(lead), client(helper)]
  const post = (by: AgentClient, mandate: string, amount = 10): Promise<string> =>
    codeOf(
      by.request({
        method: 'POST',
        path: '/ledger/v1/entries',
        body: { ref: 'r', amount },
        mandate,
      }),
    )
  const grants = [
    {
      system: 'ledger',
      operations: ['post'],
      amount: { input: 'amount', currency: 'EUR', perUse: 100, total: 150 },
    },
  ]
  const draft = {
    delegate: lead.spiffeId,
    task: 'book the week',
    grants,
    uses: 4,
    lifetimeSeconds: 60,
  }
  const root = await operator.giveMandate(draft)

  assert.equal(await post(first, root, 100), 'SP_ALLOWED')
  assert.equal(seen.at(-1)?.mandate, root)
  assert.equal(await post(first, root, 101), 'SP_MANDATE_CALL')
  assert.equal(await post(second, root), 'SP_MANDATE_HOLDER')
  assert.equal(await post(first, root, 60), 'SP_MANDATE_USED', 'the total is spent')

  const { planeTarget } = world
  const narrower = {
    planeTarget,
    parent: root,
    delegate: helper.spiffeId,
    task: 'book one',
    grants,
  }
  const below = await delegate({ ...narrower, identity: lead, uses: 4 })
  await assert.rejects(delegate({ ...narrower, identity: lead, uses: 5 }), {
    code: 'SP_MANDATE_WIDENS',
  })
  // Who neither gave nor holds it learns nothing of it.
  await assert.rejects(delegate({ ...narrower, identity: helper, uses: 1 }), {
    code: 'SP_MANDATE_UNKNOWN',
  })
  assert.equal(await post(second, below.id), 'SP_ALLOWED')
  assert.equal(seen.at(-1)?.mandate, below.id)
  assert.equal(await post(second, below.token), 'SP_ALLOWED')
  // What it takes, its parent has less.
  const both = await Promise.all(
    [first, second, first, second].map((by, i) => post(by, i % 2 ? below.id : root)),
  )
  assert.deepEqual(both.toSorted(), [
    'SP_ALLOWED',
    'SP_MANDATE_USED',
    'SP_MANDATE_USED',
    'SP_MANDATE_USED',
  ])

  const cli = (...args: string[]) => {
    const { command, args: own } = selfCommand('mandate', ...args, '--data', world.data, '--json')
    const { status, stdout, stderr } = spawnSync(command, own, { encoding: 'utf8' })
    return { status, stdout, stderr }
  }
  const listed = list(JSON.parse(cli('list').stdout)).map(members)
  assert.deepEqual(new Set(listed.map(({ id }) => textOf(id))), new Set([root, below.id]))
  const shown = members(JSON.parse(cli('show', below.id).stdout))
  assert.deepEqual(
    [shown['status'], shown['used'], shown['chain']],
    ['active', shown['used'], [root, below.id]],
  )

  const fresh = await operator.giveMandate(draft)
  const passed = await delegate({ ...narrower, parent: fresh, identity: lead, uses: 4 })
  assert.equal(await post(second, passed.id), 'SP_ALLOWED')
  assert.equal(cli('revoke', fresh, '--reason', 'the week is over').status, 0)
  const until = performance.now() + 30_000
  let last = ''
  while (last !== 'SP_MANDATE_REVOKED') {
    assert.ok(performance.now() < until, last)
    last = await post(second, passed.id, 0 + 1)
    if (last !== 'SP_MANDATE_REVOKED') await sleep(50)
  }
  assert.equal(await post(first, fresh), 'SP_MANDATE_REVOKED')

  const file = join(world.data, 'draft.json')
  writeFileSync(file, JSON.stringify(draft))
  const checked = cli('grant', file)
  assert.equal(checked.status, 6, checked.stderr)
  assert.equal(textOf(members(JSON.parse(checked.stdout)).task), 'book the week')
  writeFileSync(file, JSON.stringify({ ...draft, grants: [{ ...grants[0], operations: ['pay'] }] }))
  const refused = cli('grant', file)
  assert.equal(refused.status, 1)
  assert.match(refused.stdout + refused.stderr, /SP_MANDATE_REQUEST/)
})
