import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { launchAgent } from '../src/index.ts'
import type { Launched, LaunchOptions } from '../src/index.ts'
import { findIsolation } from '../src/launcher/isolate.ts'

/** Tries the ways round the doors that a program of the launcher's own user has, and says what came of each. */
const PROGRAM = `
const fs = require('node:fs')
const net = require('node:net')
const { spawnSync } = require('node:child_process')
const [data, other, unshare] = process.argv.slice(1)
const attempt = (name, act) => { try { console.log(name, act()) } catch (error) { console.log(name, error.code) } }
const status = fs.readFileSync('/proc/self/status', 'utf8')
attempt('key', () => fs.readFileSync(data + '/trust/ca.key', 'utf8'))
attempt('key-from-here', () => fs.readFileSync('trust/ca.key', 'utf8'))
attempt('token', () => fs.readFileSync(data + '/token', 'utf8'))
attempt('token-write', () => { fs.writeFileSync(data + '/token', 'x'); return 'written' })
attempt('data-write', () => { fs.writeFileSync(data + '/new', 'x'); return 'written' })
attempt('listing', () => fs.readdirSync(data).sort().join())
attempt('outside-write', () => { fs.writeFileSync(other + '/new', 'x'); return 'written' })
attempt('own-tmp', () => { fs.writeFileSync(require('node:os').tmpdir() + '/' + process.env.TEMPORARY, 'x'); return 'written' })
attempt('sysctl', () => { fs.accessSync('/proc/sys/kernel/core_pattern', fs.constants.W_OK); return 'writable' })
attempt('disks', () => fs.readdirSync('/dev').filter((name) => { try { return fs.statSync('/dev/' + name).isBlockDevice() } catch { return false } }).length)
attempt('signal', () => { process.kill(Number(process.env.VICTIM), 0); return 'delivered' })
attempt('caps', () => /^CapBnd:\\s*(\\w+)/m.exec(status)[1].replace(/^0+$/, 'none'))
attempt('parent', () => process.ppid)
attempt('nested', () => spawnSync(unshare, ['-U', 'true']).status === 0 ? 'made' : 'refused')
const socket = net.connect(data + '/run/admin.sock')
socket.on('connect', () => { console.log('socket connected'); console.log('done'); process.exit(0) })
socket.on('error', (error) => { console.log('socket', error.code); console.log('done'); process.exit(0) })
`

const server = createServer((socket) => socket.on('error', () => undefined).resume())
const admin = createServer((socket) => socket.on('error', () => undefined).resume())
let target: { host: string; port: number }
const base = mkdtempSync(join(tmpdir(), 'sp-isolation-'))
/** Not below `/tmp`, which is hidden anyway, even where the clone is. */
const here = import.meta.dirname.startsWith('/tmp/') ? homedir() : import.meta.dirname
const outside = mkdtempSync(join(here, '.isolation-'))
const data = join(outside, 'data')
/** A file that the program makes in its temporary folder. */
const TEMPORARY = `${basename(base)}-new`

before(async () => {
  for (const dir of ['trust', 'run']) mkdirSync(join(data, dir), { recursive: true })
  writeFileSync(join(data, 'trust', 'ca.key'), 'secret', { mode: 0o600 })
  writeFileSync(join(data, 'token'), 'token', { mode: 0o600 })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  admin.listen(join(data, 'run', 'admin.sock'))
  await once(admin, 'listening')
  // A TCP listener always has an AddressInfo.
  target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
})
after(() => {
  server.close()
  admin.close()
  for (const dir of [base, outside]) rmSync(dir, { recursive: true, force: true })
})

type Over = Partial<LaunchOptions> & Pick<LaunchOptions, 'isolate'>

async function launch(over: Over): Promise<{
  launched: Launched
  lines: string[]
  exit: Promise<readonly [number | null, NodeJS.Signals | null]>
}> {
  const lines: string[] = []
  const exit = Promise.withResolvers<readonly [number | null, NodeJS.Signals | null]>()
  const launched = await launchAgent({
    name: 'monitor',
    command: process.execPath,
    args: ['-e', PROGRAM, data, outside, 'unshare'],
    env: { VICTIM: String(process.pid), TEMPORARY },
    runDir: join(data, 'run', 'monitor'),
    gateway: target,
    control: target,
    cwd: data,
    hide: [data],
    expose: [join(data, 'token')],
    onStdout: (line) => lines.push(line),
    onStderr: (line) => lines.push(`stderr ${line}`),
    onExit: (...how) => exit.resolve(how),
    ...over,
  })
  return { launched, lines, exit: exit.promise }
}

async function attempts(
  over: Over,
): Promise<{ launched: Launched; said: Map<string, string>; wrote: boolean }> {
  const { launched, lines, exit } = await launch(over)
  await exit
  await soon(() => lines.includes('done'))
  await launched.stop()
  const said = new Map(lines.map((line) => [line.split(' ')[0] ?? '', line.replace(/^\S+ /, '')]))
  const wrote = existsSync(join(tmpdir(), TEMPORARY))
  rmSync(join(tmpdir(), TEMPORARY), { force: true })
  rmSync(join(outside, 'new'), { force: true })
  rmSync(join(data, 'new'), { force: true })
  writeFileSync(join(data, 'token'), 'token', { mode: 0o600 })
  return { launched, said, wrote }
}

/** Waits until it holds, or far longer than a busy machine takes: whoever asked looks at what came of it. */
async function soon(holds: () => boolean): Promise<void> {
  for (const end = performance.now() + 30_000; !holds() && performance.now() < end;) await sleep(10)
}

/** Skips, saying why, where the machine cannot do it: nothing is claimed there either. */
async function possible(context: TestContext): Promise<boolean> {
  const { reason } = await findIsolation(data)
  if (reason !== undefined) context.skip(`this machine cannot isolate: ${reason}`)
  return reason === undefined
}

const all = { network: true, files: true, processes: true }

describe('an agent of the same user as the launcher', { timeout: 60_000 }, () => {
  it('goes round the doors by files and processes where nothing isolates it', async () => {
    const { launched, said, wrote } = await attempts({ isolate: 'off' })
    assert.equal(wrote, true)
    assert.deepEqual(launched.isolation, { network: false, files: false, processes: false })
    assert.equal(launched.reason, 'not asked for')
    assert.equal(said.get('key'), 'secret')
    assert.equal(said.get('key-from-here'), 'secret')
    assert.equal(said.get('token-write'), 'written')
    assert.equal(said.get('data-write'), 'written')
    assert.equal(said.get('outside-write'), 'written')
    assert.equal(said.get('socket'), 'connected')
    assert.equal(said.get('signal'), 'delivered')
    assert.equal(said.get('parent'), String(process.pid))
    // The program must be able to tell the difference, where this user may do it at all.
    if (process.getuid?.() === 0) {
      assert.equal(said.get('sysctl'), 'writable')
      assert.notEqual(said.get('caps'), 'none')
    }
  })

  it('has no way but its sockets where it is isolated', async (context) => {
    if (!(await possible(context))) return
    const { launched, said, wrote } = await attempts({ isolate: 'require' })
    assert.deepEqual(launched.isolation, all)
    assert.equal(launched.reason, undefined)
    for (const name of ['key', 'key-from-here', 'socket']) {
      assert.equal(said.get(name), 'ENOENT', name)
    }
    assert.equal(said.get('token'), 'token')
    for (const name of ['token-write', 'data-write', 'outside-write']) {
      assert.equal(said.get(name), 'EROFS', name)
    }
    assert.equal(said.get('listing'), 'run,token')
    assert.equal(said.get('own-tmp'), 'written')
    assert.match(said.get('sysctl') ?? '', /^E(ROFS|ACCES)$/)
    assert.equal(said.get('disks'), '0')
    assert.equal(said.get('signal'), 'ESRCH')
    assert.equal(said.get('caps'), 'none')
    assert.equal(said.get('parent'), '1')
    assert.equal(said.get('nested'), 'refused')
    assert.equal(wrote, false)
  })

  it('finds hidden files by no other name either', async (context) => {
    if (!(await possible(context))) return
    const link = join(outside, 'link')
    symlinkSync(data, link)
    const { said } = await attempts({
      isolate: 'require',
      args: ['-e', PROGRAM, link, outside, 'unshare'],
      hide: [link],
      expose: [join(link, 'token')],
      cwd: link,
    })
    assert.equal(said.get('key'), 'ENOENT')
    assert.equal(said.get('token'), 'token')
  })

  it('is not started where what it is to be shown is not there', async (context) => {
    if (!(await possible(context))) return
    await assert.rejects(launch({ isolate: 'require', expose: [join(data, 'absent')] }), {
      code: 'SP_LAUNCH_FAILED',
    })
    await assert.rejects(launch({ isolate: 'require', hide: ['/'] }), { code: 'SP_LAUNCH_FAILED' })
  })

  it('is not another program where it would not see the one that is meant', async (context) => {
    if (!(await possible(context))) return
    const bin = join(base, 'bin')
    mkdirSync(bin)
    const script = join(bin, 'id')
    writeFileSync(script, '#!/bin/sh\nexit 42\n', { mode: 0o755 })
    const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}` }
    for (const command of ['id', script]) {
      await assert.rejects(launch({ isolate: 'require', command, args: [], env }), {
        code: 'SP_LAUNCH_FAILED',
        detail: new RegExp(script.replaceAll('.', '\\.')),
      })
    }
    const shown = { isolate: 'require', command: 'id', args: [], env } as const
    const exits = async (over: Over): Promise<number | null> => (await (await launch(over)).exit)[0]
    assert.equal(await exits({ ...shown, expose: [bin] }), 42)
    // Where its own folder is below what is named, it sees that folder alone.
    const below = join(base, 'below')
    mkdirSync(below)
    await assert.rejects(exits({ ...shown, cwd: below, expose: [base] }), {
      code: 'SP_LAUNCH_FAILED',
    })
    // Its own folder it sees, wherever that is.
    assert.equal(await exits({ ...shown, cwd: bin, command: './id' }), 42)
    // What is nowhere is said to be nowhere, as ever.
    assert.equal(await exits({ ...shown, command: 'sp-no-such-program' }), 127)
  })

  it('has its own exit code told, and 128 + n for a signal', async (context) => {
    if (!(await possible(context))) return
    const ends = async (script: string): Promise<number | null> => {
      const { exit } = await launch({ isolate: 'require', command: 'sh', args: ['-c', script] })
      return (await exit)[0]
    }
    assert.equal(await ends('exit 7'), 7)
    assert.equal(await ends('exit 0'), 0)
    assert.equal(await ends('kill -SEGV $$'), 128 + 11)
  })

  it('takes everything it started with it, a program deaf to SIGTERM too', async (context) => {
    if (!(await possible(context))) return
    const mark = join(base, 'beat')
    mkdirSync(mark)
    // A daemon in a session of its own, which a signal to the group does not reach.
    const { launched, lines } = await launch({
      isolate: 'require',
      command: 'sh',
      args: ['-c', 'setsid sleep 600 & trap "" TERM; echo up; while :; do sleep 0.1; done'],
    })
    await soon(() => lines.includes('up'))
    const members = inNamespaceOf(launched.pid)
    assert.ok(members.length >= 2, String(members))
    await launched.stop()
    await soon(() => !members.some(alive))
    assert.deepEqual(members.filter(alive), [])
  })

  it('ends with a launcher that is killed', async (context) => {
    if (!(await possible(context))) return
    const launcher = await otherLauncher(`['sh', ['-c', 'echo up; sleep 600']]`)
    const members = inNamespaceOf(launcher.agent)
    assert.ok(members.length >= 2 && members.every(alive), String(members))
    launcher.child.kill('SIGKILL')
    await soon(() => ![launcher.agent, ...members].some(alive))
    assert.deepEqual([launcher.agent, ...members].filter(alive), [])
  })

  it("inherits none of the launcher's descriptors", async (context) => {
    if (!(await possible(context))) return
    const secret = openSync(join(data, 'trust', 'ca.key'), 'r')
    // The launcher itself is started with the key open, as a careless shell would.
    const program = `['sh', ['-c', 'echo up; cat <&4; ls -l /proc/$$/fd; true']]`
    for (const isolate of ['off', 'require']) {
      const launcher = await otherLauncher(program, isolate, secret)
      await once(launcher.child, 'close')
      const open = launcher.lines.flatMap((line) => / (\d+ -> .*)$/.exec(line)?.[1] ?? [])
      assert.ok(open.some((line) => line.startsWith('1 -> ')))
      const more = open.filter((line) => !/^([0-2] -> |\d+ -> \/dev\/null$)/.test(line))
      assert.deepEqual(more, [])
      assert.ok(!launcher.lines.includes('secret'))
    }
  })

  it('starts and stops without waiting for a timer', async (context) => {
    if (!(await possible(context))) return
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const started = performance.now()
      const { launched, exit } = await launch({
        isolate: 'require',
        command: 'sleep',
        args: ['60'],
      })
      times.push(performance.now() - started)
      // At once: the program may not even have begun, and is to go without the grace for deaf ones, after which they are killed.
      await launched.stop()
      const [code, signal] = await exit
      assert.ok(code === 128 + 15 || signal === 'SIGTERM', `${code} ${signal}`)
    }
    context.diagnostic(`ms: ${times.map((time) => time.toFixed(0)).join(', ')}`)
    assert.ok(Math.min(...times) < 5000, String(times))
  })
})

/** A launcher in a process of its own that starts one agent, given as `[command, args]`. */
async function otherLauncher(
  program: string,
  isolate = 'require',
  descriptor?: number,
): Promise<{ child: ReturnType<typeof spawn>; agent: number; lines: string[] }> {
  const script = `
    import { launchAgent } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)}
    const [command, args] = ${program}
    const [data, isolate, port] = process.argv.slice(1)
    const to = { host: '127.0.0.1', port: Number(port) }
    const launched = await launchAgent({
      name: 'monitor', command, args, env: {}, runDir: data + '/run/other', gateway: to, control: to,
      isolate, hide: [data], cwd: '/', onStdout: console.log, onStderr: console.log,
      onExit: () => setTimeout(() => process.exit(), 100),
    })
    console.log('agent', launched.pid)
  `
  const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', 'pipe', 'inherit' as never]
  // Far above those that Node marks of what it is started with.
  if (descriptor !== undefined) {
    stdio.push('ignore', descriptor)
    while (stdio.length < 40) stdio.push('ignore')
    stdio.push(descriptor)
  }
  const child = spawn(
    process.execPath,
    ['--input-type=module-typescript', '-e', script, data, isolate, String(target.port)],
    { stdio },
  )
  const lines: string[] = []
  let rest = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    const parts = (rest + String(chunk)).split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts)
  })
  const agent = (): string | undefined => /^agent (\d+)$/m.exec(lines.join('\n'))?.[1]
  await soon(() => agent() !== undefined && lines.includes('up'))
  assert.ok(agent() !== undefined, JSON.stringify(lines))
  return { child, agent: Number(agent()), lines }
}

/** Processes below one, by the kernel's own account. */
function inNamespaceOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter(Boolean)
    .map(Number)
  return children.flatMap((child) => [child, ...inNamespaceOf(child)])
}

function alive(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
