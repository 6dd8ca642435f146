import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentClient } from '@sallyport/agent'
import { list, members, textOf } from '../packages/cli/src/shape.ts'
import { selfCommand } from '../packages/cli/src/supervise.ts'
import { readLog } from './support/audit.ts'
import { Ledger } from './support/ledger.ts'
import { killHard, World } from './support/world.ts'

const NETWORK = join(import.meta.dirname, 'support/declaration/network.yaml')

const verify = (world: World, ...more: string[]): { status: number | null; value: unknown } => {
  const { command, args } = selfCommand('audit', 'verify', '--data', world.data, '--json', ...more)
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' })
  return { status, value: JSON.parse(stdout) }
}

async function heldSize(world: World): Promise<number> {
  const { audit } = members(await world.admin.get('/api/health'))
  const entry = list(audit).map(members)[0]
  return Number(textOf(entry?.checkpoint).split('\n')[1] ?? 0)
}

async function calls(client: AgentClient): Promise<void> {
  for (let i = 0; i < 5; i++) await client.request({ method: 'GET', path: '/ledger/v1/entries/1' })
}

async function until(what: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await what()); await sleep(100)) {
    assert.ok(Date.now() < end, 'it did not come about in 30 s')
  }
}

test('a log that was cut short is found by the checkpoint that the control plane holds', async (t) => {
  const ledger = new Ledger()
  const world = await World.start({ networkFile: NETWORK, services: ledger.services })
  t.after(() => world.stop())
  const clerk = await world.caller('clerk')
  t.after(() => clerk.close())
  await calls(clerk)
  await world.gateway.stop()
  const log = join(world.gatewayDir, 'log')
  const kept = join(world.data, 'log-before')
  cpSync(log, kept, { recursive: true })
  const before = await readLog(world.gatewayDir)
  // What is in the log as the gateway closes it is held.
  assert.equal(await heldSize(world), before.records)

  await world.startGateway()
  await calls(clerk)
  await until(async () => (await heldSize(world)) > before.records + 5)
  await killHard(world.gateway)
  // The positive control: the log as it is.
  const whole = verify(world, '--checkpoint-from-control')
  assert.equal(whole.status, 0)
  assert.match(textOf(members(whole.value as never).statement), /was removed/)

  // Cut back to what it once was: a log that is sound by itself.
  rmSync(log, { recursive: true })
  cpSync(kept, log, { recursive: true })
  const alone = await readLog(world.gatewayDir)
  assert.equal(alone.ok, true)
  assert.match(alone.statement, /truncation not excluded/)
  for (const more of [[], ['--checkpoint-from-control']]) {
    const { status, value } = verify(world, ...more)
    assert.equal(status, 7)
    const problems = list(members(value as never).problems).map(members)
    assert.deepEqual(
      problems.map(({ code }) => code),
      ['SP_LOG_TRUNCATED'],
    )
  }

  // A gateway that goes on with it is told on.
  await world.startGateway()
  await until(async () => {
    const incidents = list(await world.admin.get('/api/incidents')).map(members)
    return incidents.some(({ subject }) => textOf(subject).endsWith('/gateway/gw1'))
  })

  await world.control.stop(10_000)
  // Without a control plane nothing is held: said by whoever demanded it, and in words by the other.
  assert.match(
    textOf(members(verify(world).value as never).statement),
    /truncation not excluded|not verified/,
  )
  assert.equal(verify(world, '--checkpoint-from-control').status, 3)
})
