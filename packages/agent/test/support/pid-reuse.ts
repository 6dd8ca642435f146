/**
 * Run as process 1 of a process namespace of its own, where the next number can be chosen: a program connects and ends, and
 * another program, the declared one, gets its number before the connection is attested. Prints what came of it as JSON.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { renderError } from '@sallyport/base'
import { attest } from '../../src/workload/match.ts'
import { Caller } from '../../src/workload/caller.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-reuse-'))
const path = join(dir, 's')
const SLEEP = realpathSync('/bin/sleep')
const PERL = realpathSync('/usr/bin/perl')
/** Connects, leaves the connection to a child, and ends once its standard input does. */
const LEAVES = `
use Socket;
socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, sockaddr_un($ARGV[0])) or die;
if (fork() == 0) { close STDIN; sleep 1000; exit }
1 while <STDIN>;
`
const uid = process.getuid?.() ?? 0
const declared = [
  { agent: 'sleeper', unix: { uid, path: SLEEP } },
  { agent: 'perl', unix: { uid, path: PERL } },
]

const server = createServer({ pauseOnConnect: true })
server.listen(path)
await once(server, 'listening')

async function connects(): Promise<{ socket: Socket; child: ChildProcess }> {
  const accepted = once(server, 'connection')
  const child = spawn(PERL, ['-e', LEAVES, path], { stdio: ['pipe', 'ignore', 'inherit'] })
  // What `connection` brings.
  const [socket] = (await accepted) as [Socket]
  return { socket, child }
}

/** Another program under the number of one that has ended. */
async function takeOver(child: ChildProcess): Promise<ChildProcess> {
  const { pid } = child
  if (pid === undefined) throw new Error('it did not start')
  const ended = once(child, 'exit')
  child.stdin?.end()
  await ended
  writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1))
  const next = spawn(SLEEP, ['1000'], { stdio: 'ignore' })
  await once(next, 'spawn')
  if (next.pid !== pid) throw new Error(`it has the number ${next.pid}, not ${pid}`)
  if (readlinkSync(`/proc/${pid}/exe`) !== SLEEP) throw new Error('it is not the declared program')
  return next
}

async function outcome(act: () => Promise<string>): Promise<string> {
  try {
    return await act()
  } catch (error) {
    return renderError(error)
  }
}

// The threads that take numbers are there before numbers are chosen.
await Promise.all(Array.from({ length: 8 }, () => stat(dir)))
await import('koffi')

const honest = await connects()
const positive = await outcome(async () => attest(await Caller.of(honest.socket), declared))
honest.child.stdin?.end()

/** Somebody else may be given the number that was meant; then it is tried anew. */
async function untilTakenOver(
  act: (early: Awaited<ReturnType<typeof connects>>) => Promise<string>,
): Promise<string> {
  for (let left = 20; ; left--) {
    try {
      return await act(await connects())
    } catch (error) {
      if (left === 0) throw error
    }
  }
}

const before = await untilTakenOver(async ({ socket, child }) => {
  const next = await takeOver(child)
  const said = await outcome(async () => attest(await Caller.of(socket), declared))
  next.kill()
  return said
})
const between = await untilTakenOver(async ({ socket, child }) => {
  const caller = await Caller.of(socket)
  const next = await takeOver(child)
  const said = await outcome(() => attest(caller, declared))
  next.kill()
  return said
})

console.log(JSON.stringify({ positive, before, between }))
rmSync(dir, { recursive: true, force: true })
process.exit(0)
