import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'node:test'
import type { TestContext } from 'node:test'
import { sha256Hex } from '@sallyport/base'
import { RefusedError } from '@sallyport/agent'
import type { AgentClient } from '@sallyport/agent'
import { LogReader } from './support/audit.ts'
import { PretendWorld } from './support/pretend-world.ts'
import { killHard } from './support/world.ts'

const UNRECORDED = '503 SP_AUDIT_UNAVAILABLE'

/** `200`, or the code that the call was refused with; `broken` where the connection was. */
async function outcome(call: Promise<{ readonly status: number }>): Promise<string> {
  try {
    return String((await call).status)
  } catch (error) {
    return error instanceof RefusedError ? `${error.status} ${error.code}` : 'broken'
  }
}

const read = (client: AgentClient): Promise<string> =>
  outcome(client.request({ method: 'GET', path: '/ledger/v1/entries/1' }))

let refs = 0
const write = (client: AgentClient): Promise<string> => {
  const body = { ref: `r${refs++}`, amount: 10 }
  return outcome(client.request({ method: 'POST', path: '/ledger/v1/entries', body }))
}

/** Writes until one cannot be recorded. */
async function untilRefused(client: AgentClient): Promise<void> {
  const until = performance.now() + 60_000
  for (;;) {
    const answer = await write(client)
    if (answer === UNRECORDED) return
    assert.equal(answer, '200')
    assert.ok(performance.now() < until, 'every call was recorded')
  }
}

/** What the gateway tells whoever starts and stops it. */
async function health(world: PretendWorld, path: string): Promise<[number, unknown]> {
  const answer = await fetch(`http://${world.healthAddress}${path}`)
  return [answer.status, await answer.json()]
}

/** Nothing is let go, and the machine is told why. */
async function refusesAll(world: PretendWorld, client: AgentClient): Promise<void> {
  const reached = world.ledger.entries.length
  for (let i = 0; i < 10; i++) {
    assert.equal(await read(client), UNRECORDED)
    assert.equal(await write(client), UNRECORDED)
  }
  assert.equal(world.ledger.entries.length, reached, 'a refused call was forwarded')
  assert.deepEqual(await health(world, '/ready'), [503, { ok: false, why: ['audit'] }])
  assert.deepEqual(await health(world, '/live'), [200, { ok: true }])
}

/** Calls go again, the log is whole, and each call that was executed has its decision in it. */
async function isBack(world: PretendWorld, log: LogReader): Promise<void> {
  const client = world.clerk('back')
  assert.equal(await write(client), '200')
  assert.equal(await read(client), '200')
  assert.deepEqual(await health(world, '/ready'), [200, { ok: true }])
  await world.gateway.stop()
  const { all, problems } = await log.read()
  assert.deepEqual(problems, [])
  assert.equal(new Set(all.map((one) => JSON.stringify(one))).size, all.length, 'a record twice')
  for (const { decision } of world.ledger.entries) {
    const record = all.find((one) => one.kind === 'decision' && one.id === decision)
    assert.ok(record?.kind === 'decision' && record.decision === 'allow', decision)
  }
}

interface Disk {
  /** Runs a command with the disk in place. */
  readonly within: readonly string[]
  /** Of a path in that, as it is reached from here. */
  outside(path: string): string
}

/** A small disk of its own at a folder, for as long as the test lasts; undefined where the machine permits none. */
async function smallDisk(t: TestContext, at: string, size: string): Promise<Disk | undefined> {
  const asRoot = ['-m', '--propagation', 'private']
  const asUser = ['-U', '-r', ...asRoot]
  const way = [asRoot, asUser].find(
    (args) => spawnSync('unshare', [...args, 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0,
  )
  if (!way) {
    t.skip('this machine lets nobody mount a file system of their own')
    return undefined
  }
  const script = `mount -t tmpfs -o size=${size},mode=700 none "$1" && echo ready && exec cat`
  const holder = spawn('unshare', [...way, 'sh', '-c', script, 'sh', at], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => holder.kill('SIGKILL'))
  await new Promise((resolve, reject) => {
    holder.stdout.once('data', resolve)
    holder.once('exit', () => {
      reject(new Error('the disk is not there'))
    })
  })
  const pid = String(holder.pid)
  const user = way === asUser ? ['-U', '--preserve-credentials'] : []
  return {
    within: ['nsenter', '-t', pid, ...user, '-m', '--'],
    outside: (path) => `/proc/${pid}/root${path}`,
  }
}

/** Writes until the file system is full. */
function fill(path: string): void {
  const file = openSync(path, 'w')
  try {
    for (let size = 1 << 20; size >= 1; size >>= 1) {
      for (const chunk = Buffer.alloc(size, 1); ;) {
        try {
          writeSync(file, chunk)
        } catch (error) {
          assert.match(String(error), /ENOSPC/)
          break
        }
      }
    }
  } finally {
    closeSync(file)
  }
}

test('with a full disk a gateway forwards nothing and says so, and comes back when there is room', async (t) => {
  const world = await PretendWorld.start()
  t.after(() => world.stop())
  await world.gateway.stop()
  // The same gateway again, with all that it writes on a small disk of its own.
  const dir = world.gatewayDir
  rmSync(dir, { recursive: true })
  mkdirSync(dir)
  const disk = await smallDisk(t, dir, '72m')
  if (!disk) return
  await world.startGateway(disk.within)
  const clerk = world.clerk('i1')
  assert.equal(await read(clerk), '200')
  assert.equal(await write(clerk), '200')

  const filler = disk.outside(join(dir, 'filler'))
  fill(filler)
  // The segment was allocated before, and so is a page of checkpoints: some records still fit.
  await untilRefused(clerk)
  await refusesAll(world, clerk)
  const log = new LogReader(disk.outside(dir))
  await log.read()

  // Room alone does not bring it back: what the failed sync lost is unknown until the log is read anew.
  rmSync(filler)
  await refusesAll(world, clerk)

  // Whoever starts it too early is refused as before, and nothing of the log is lost by it.
  fill(filler)
  await killHard(world.gateway)
  await world.startGateway(disk.within).then(
    async () => {
      const early = world.clerk('early')
      await untilRefused(early)
      await refusesAll(world, early)
      await killHard(world.gateway)
    },
    (error: unknown) => {
      assert.match(String(error), /SP_CHILD_ENDED|ended before it was ready/)
    },
  )
  rmSync(filler)
  await world.startGateway(disk.within)
  await isBack(world, log)
})

test('a write that fails in the middle of a record: the same, and the half of it is discarded', async (t) => {
  if (spawnSync('prlimit', ['--version']).status !== 0) {
    t.skip('this machine has no `prlimit`')
    return
  }
  const world = await PretendWorld.start()
  t.after(() => world.stop())
  const clerk = world.clerk('i1')
  for (let i = 0; i < 20; i++) assert.equal(await write(clerk), '200')
  await sleep(1500)
  // The kernel writes up to there and fails the rest (setrlimit(2), RLIMIT_FSIZE).
  const used = usedBytes(join(world.gatewayDir, 'log/00000000.seg'))
  const limit = (bytes: string): void => {
    const pid = String(world.gateway.child.pid)
    execFileSync('prlimit', ['--pid', pid, `--fsize=${bytes}:unlimited`])
  }
  limit(String(used + 100))
  await untilRefused(clerk)
  const torn = usedBytes(join(world.gatewayDir, 'log/00000000.seg'))
  assert.ok(torn > used && torn <= used + 100, `${torn - used} bytes of a record were written`)
  await refusesAll(world, clerk)
  limit('unlimited')
  await refusesAll(world, clerk)
  await killHard(world.gateway)
  const log = new LogReader(world.gatewayDir)
  await log.read()
  await world.startGateway()
  await isBack(world, log)
})

/** How much of a segment is no zeros. */
function usedBytes(file: string): number {
  const bytes = readFileSync(file)
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return end
}

test('without room for the keys of what is recorded a gateway says that it is not ready', async (t) => {
  const world = await PretendWorld.start()
  t.after(() => world.stop())
  await world.gateway.stop()
  const keyring = join(world.gatewayDir, 'keyring')
  const file = join(keyring, 'keyring.jsonl')
  // A page, all but a few bytes: lines as they are written when keys are erased.
  const text = (ks: string): string => JSON.stringify([{ t: 'erased', ks: [ks], at: 1 }])
  const line = (ks: string): string => `${sha256Hex(text(ks)).slice(0, 16)} ${text(ks)}\n`
  const left = 4096 - 50 - statSync(file).size - line('').length
  appendFileSync(file, line('x'.repeat(left)))
  const kept = readFileSync(file)
  const disk = await smallDisk(t, keyring, '4k')
  if (!disk) return
  appendFileSync(disk.outside(file), kept)
  await world.startGateway(disk.within)
  assert.deepEqual(await health(world, '/ready'), [200, { ok: true }])
  const clerk = world.clerk('i1')
  assert.equal(await write(clerk), UNRECORDED)
  await refusesAll(world, clerk)
  assert.equal(world.ledger.entries.length, 0)
})
