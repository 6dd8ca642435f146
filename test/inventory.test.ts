/** What traffic asked for and nobody declared, from a real gateway to `sallyport inventory diff`. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { RefusedError } from '@sallyport/agent'
import { list, members, textOf } from '../packages/cli/src/shape.ts'
import { selfCommand } from '../packages/cli/src/supervise.ts'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

test('an undeclared operation that an agent asked for is listed, with what would declare it', async (t) => {
  const ledger = new Ledger()
  const networkFile = join(import.meta.dirname, 'support/declaration/network.yaml')
  const world = await World.start({ networkFile, services: ledger.services })
  t.after(() => world.stop())
  const clerk = await world.caller('clerk')
  t.after(() => clerk.close())
  const cli = (...args: readonly string[]): string => {
    const { command, args: own } = selfCommand('inventory', ...args, '--data', world.data)
    const { status, stdout, stderr } = spawnSync(command, [...own], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
    return stdout
  }
  const diff = () => list(JSON.parse(cli('diff', '--json')) as never).map(members)
  assert.deepEqual(diff(), [])

  const account = 'ACC-12345678'
  const asked = clerk.request({ method: 'GET', path: `/ledger/v1/refunds/${account}` })
  await assert.rejects(
    asked,
    (error) => error instanceof RefusedError && error.code === 'SP_NO_OPERATION',
  )
  const posted = clerk.request({
    method: 'POST',
    path: '/ledger/v1/entries',
    body: { ref: 'r', amount: 5 },
  })
  assert.equal((await posted).status, 200)

  const until = performance.now() + 60_000
  while (diff().length === 0) {
    assert.ok(performance.now() < until, 'it did not come')
    await sleep(200)
  }
  const [row] = diff()
  assert.deepEqual(
    [row?.kind, row?.system, row?.name, row?.by],
    ['operation', 'ledger', 'GET /v1/refunds/{}', 'clerk'],
  )
  const text = cli('diff')
  assert.match(text, /operation {2}ledger: GET \/v1\/refunds\/\{\}/)
  assert.match(text, /get: \{ operationId: TODO/)
  assert.doesNotMatch(text, /12345678/)
  assert.equal(cli('diff', '--kind', 'caller').trim(), 'nothing that is not declared was asked for')

  const declared = list(JSON.parse(cli('--json')) as never).map(members)
  const use = (name: string) =>
    declared.find((one) => one.kind === 'operation' && one.name === name)
  assert.equal(use('ledger.post')?.calls, 1)
  assert.equal(use('ledger.seize')?.last, null)
  assert.notEqual(textOf(use('ledger.post')?.owner), '')
})
