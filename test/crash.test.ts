import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'node:test'
import { members, textOf } from '../packages/cli/src/shape.ts'
import { supervise } from '../packages/cli/src/supervise.ts'
import type { Supervised } from '../packages/cli/src/supervise.ts'
import { LogReader } from './support/audit.ts'
import { chance, shuffled } from './support/chance.ts'
import type { Said } from './support/clerk.ts'
import { assertInvariants } from './support/invariants.ts'
import { Ledger } from './support/ledger.ts'
import { killHard, World } from './support/world.ts'

/** How often each is killed: fifty trials in all. `SALLYPORT_CRASH_SEED` repeats an order and its moments. */
const TRIALS = { gateway: 15, control: 10, database: 12, agent: 13 } as const
type Victim = keyof typeof TRIALS
const SEED = Number(process.env['SALLYPORT_CRASH_SEED'] ?? randomInt(2 ** 31))
const CLERKS = 2
const NETWORK = join(import.meta.dirname, 'support/declaration/network.yaml')

interface Clerk {
  readonly process: Supervised
  readonly instance: string
}

/** The network under load, and everything that is known of it from outside. */
class Trials {
  readonly random: () => number = chance(SEED)
  readonly ledger: Ledger
  readonly said: Said[] = []
  readonly quarantined: { instance: string; at: number }[] = []
  readonly clerks: Clerk[] = []
  readonly world: World
  readonly #log: LogReader

  constructor(world: World, ledger: Ledger) {
    this.world = world
    this.ledger = ledger
    this.#log = new LogReader(world.gatewayDir)
  }

  async hire(): Promise<void> {
    const { world } = this
    const { token } = members(await world.joinToken('agent', 'clerk'))
    const process_ = supervise({
      name: 'clerk',
      command: process.execPath,
      args: [join(import.meta.dirname, 'support/clerk.ts')],
      env: {
        JOIN_TOKEN: textOf(token),
        ROOTS_PEM: world.rootsPem,
        TRUST_DOMAIN: world.trustDomain,
        PLANE_PORT: String(world.planeTarget.port),
        GATEWAY_PORT: String(world.gatewayTarget.port),
        PACE_MS: '200',
      },
      onLine: (line) => {
        // Written by `clerk.ts` in this very shape.
        if (line.event === 'answer') this.said.push(line as unknown as Said)
      },
      onError: () => undefined,
    })
    const ready = await process_.line(({ event }) => event === 'ready', 30_000)
    this.clerks.push({ process: process_, instance: textOf(ready.instance) })
  }

  /** Waits until calls of every kind are answered again: the network has recovered from whatever was killed. */
  async flowing(): Promise<void> {
    const from = this.said.length
    const until = Date.now() + 30_000
    const waiting = new Set(['small', 'large-asked', 'purge', 'note'])
    while (waiting.size > 0) {
      for (const { kind, status } of this.said.slice(from)) {
        if (status === 200 || status === 403) waiting.delete(kind)
      }
      const still = [...waiting].map((kind) => {
        const last = this.said.findLast((answer) => answer.kind === kind)
        return `${kind}: ${last?.status ?? 'none'} ${last?.code ?? ''}`
      })
      assert.ok(Date.now() < until, `the network did not recover: ${still.join(', ')}`)
      await sleep(20)
    }
  }

  /** Quarantines an instance; from the acknowledgement on it may reach nothing. */
  async quarantine(instance: string, gatewayRuns: boolean): Promise<void> {
    const answer = members(
      await this.world.admin.post('/api/quarantine', { subject: instance, reason: 'a trial' }),
    )
    // Where a gateway that runs did not confirm in time, only its log can say since when.
    if (gatewayRuns && answer.appliedMs === undefined) return
    this.quarantined.push({ instance, at: Date.now() })
  }

  /** Verifies the log as it stands, and holds everything seen so far to it. */
  async inspect(gateway: 'runs' | 'killed' | 'stopped'): Promise<void> {
    const { world, ledger, said, quarantined } = this
    const executed = [...ledger.entries]
    const told = [...said]
    // Frozen while it is read: a frame half written is no damage.
    if (gateway === 'runs') world.gateway.child.kill('SIGSTOP')
    try {
      const { all, problems } = await this.#log.read()
      // A killed writer leaves a torn tail of either file, which the next start discards; anything else is damage.
      const damage = problems.filter(
        ({ code, message }) =>
          gateway !== 'killed' ||
          !(message.startsWith('bytes that are no frame') || code === 'SP_LOG_CHECKPOINT'),
      )
      assert.deepEqual(damage, [])
      assertInvariants({ records: all, executed, said: told, quarantined })
    } finally {
      if (gateway === 'runs') world.gateway.child.kill('SIGCONT')
    }
  }

  readonly strike: Readonly<Record<Victim, (variant: number) => Promise<void>>> = {
    gateway: async (variant) => {
      const { world } = this
      const clerk = this.clerks[0]
      // Every third time an instance is quarantined just before, every third time while no gateway runs.
      if (clerk && variant % 3 === 1) await this.quarantine(clerk.instance, true)
      await killHard(world.gateway)
      await this.inspect('killed')
      if (clerk && variant % 3 === 2) await this.quarantine(clerk.instance, false)
      await world.startGateway()
      // Tries for a while to reach something before it is replaced.
      if (variant % 3 !== 0) await this.replace()
    },
    control: async () => {
      await killHard(this.world.control)
      await sleep(this.random() * 500)
      await this.world.startControl()
    },
    database: async () => {
      const before = this.world.postmaster
      process.kill(before, 'SIGKILL')
      // The control plane starts it again by itself.
      const until = Date.now() + 20_000
      for (let back = false; !back; await sleep(50)) {
        assert.ok(Date.now() < until, 'the database did not come back')
        const health = await this.world.admin.get('/api/health').catch(() => null)
        back = this.#postmaster() !== before && members(health).database === 'ok'
      }
    },
    agent: async (variant) => {
      const clerk = this.clerks[0]
      if (clerk && variant % 2 === 1) await this.quarantine(clerk.instance, true)
      await this.replace()
    },
  }

  /** Kills the clerk that has been there longest, and takes on another. */
  async replace(): Promise<void> {
    const clerk = this.clerks.shift()
    // One that was quarantined keeps knocking for a while.
    await sleep(this.random() * 300)
    if (clerk) await killHard(clerk.process)
    await this.hire()
  }

  async stop(): Promise<void> {
    await Promise.all(this.clerks.map(({ process: one }) => killHard(one)))
  }

  #postmaster(): number {
    try {
      return this.world.postmaster
    } catch {
      return 0
    }
  }
}

test('kill -9 of any part, at any moment, loses nothing acknowledged and allows nothing more', async (t) => {
  t.diagnostic(`SALLYPORT_CRASH_SEED=${SEED}`)
  const ledger = new Ledger()
  const world = await World.start({ networkFile: NETWORK, services: ledger.services })
  const trials = new Trials(world, ledger)
  let operator: Awaited<ReturnType<World['operator']>> | undefined
  t.after(async () => {
    operator?.stop()
    await trials.stop()
    await world.stop()
  })
  operator = await world.operator()
  const deciding = operator.run(150)
  while (trials.clerks.length < CLERKS) await trials.hire()
  const victims = Object.entries(TRIALS).flatMap(([victim, times]) =>
    // The keys are the victims.
    Array.from({ length: times }, (_, variant) => ({ victim: victim as Victim, variant })),
  )
  assert.equal(victims.length, 50)
  for (const [n, { victim, variant }] of shuffled(victims, trials.random).entries()) {
    await trials.flowing()
    await sleep(trials.random() * 400)
    try {
      await trials.strike[victim](variant)
      await trials.inspect('runs')
    } catch (cause) {
      const where = `trial ${n}: ${victim} ${variant}, SALLYPORT_CRASH_SEED=${SEED}`
      throw new Error(`${where}: ${cause instanceof Error ? cause.message : ''}`, { cause })
    }
  }
  await trials.flowing()
  operator.stop()
  await deciding
  await trials.stop()
  await world.gateway.stop()
  // Closed in order, it verifies without exception.
  await trials.inspect('stopped')
  // That all of it really went on, or nothing was shown.
  const { said } = trials
  const answered = (kind: string, code: string): number =>
    said.filter((answer) => answer.kind === kind && answer.code === code).length
  const did = (operation: string, from = 0): number =>
    ledger.entries.filter((e) => e.operation === operation && e.amount >= from).length
  const counts = {
    reads: answered('read', 'SP_ALLOWED'),
    writes: answered('small', 'SP_ALLOWED'),
    notes: answered('note', 'SP_ALLOWED'),
    approvedAndDone: did('post', 5000),
    approvedTwiceRefused: answered('large', 'SP_APPROVAL_USED'),
    forbidden: answered('purge', 'SP_DENIED_FORBIDDEN'),
    tooMuch: answered('fortune', 'SP_DENIED_FORBIDDEN'),
    notPermitted: answered('seize', 'SP_DENIED_NOT_PERMITTED'),
    noFlow: answered('export', 'SP_NO_FLOW'),
    drawn: did('draw'),
    limited: answered('draw', 'SP_LIMIT_REACHED'),
    broken: said.filter(({ status }) => status === 0).length,
    quarantined: trials.quarantined.length,
  }
  t.diagnostic(JSON.stringify(counts))
  for (const [what, count] of Object.entries(counts)) assert.ok(count > 0, what)
})
