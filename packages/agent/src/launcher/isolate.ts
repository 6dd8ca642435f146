import { spawnSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'

import { tool } from './enclose.ts'
import type { Way } from './enclose.ts'
import { probe } from './probe.ts'
import type { Findings } from './probe.ts'

/** What holds of a program: each part only where a program really started that way showed it. */
export interface Isolation {
  /** No way out but Unix sockets that it is given. */
  readonly network: boolean
  /** What is hidden is, what is left of file systems is read-only, `/tmp` and `/dev` are its own. */
  readonly files: boolean
  /** It sees and signals only what it started itself; IPC and host name are its own. */
  readonly processes: boolean
}

/** The best way that this machine permits, and what is missing of it. */
export interface Found {
  readonly way?: Way
  readonly isolation: Isolation
  /** Absent where nothing is missing. */
  readonly reason?: string
}

const PROBE_TIMEOUT_MS = 10_000

/** Dies with its parent; used where nothing isolates. Empty where the machine lacks `setpriv`. */
export function parentDeath(): readonly string[] {
  const setpriv = tool('setpriv')
  if (setpriv === undefined) return []
  const words = ['--pdeathsig', 'KILL']
  const { status } = spawnSync(setpriv, [...words, 'true'], {
    stdio: 'ignore',
    timeout: PROBE_TIMEOUT_MS,
  })
  return status === 0 ? [setpriv, ...words, '--'] : []
}

/**
 * Finds the best way to start programs in namespaces of their own, and proves what holds of it by a real program started
 * in that very way. What a machine permits does not change while a launcher runs, so it is looked for once.
 *
 * @param near a folder that agents will not see, to make the probe's canary in
 */
export function findIsolation(near?: string): Promise<Found> {
  found ??= search(near)
  return found
}

let found: Promise<Found> | undefined

/** Of the three, how many hold. */
const score = (findings: Findings): number =>
  [findings.network, findings.files, findings.processes].filter((reason) => reason === undefined)
    .length

async function search(near: string | undefined): Promise<Found> {
  // Root too is better off in a user namespace: only there can further ones be forbidden.
  const root = process.getuid?.() === 0
  const users = root ? [true, false] : [true]
  const ways = [true, false].flatMap((full) => users.map((user): Way => ({ user, full })))
  let best: { readonly way?: Way; readonly findings: Findings } | undefined
  for (const way of ways) {
    const findings = await probe(way, near)
    if (score(findings) > (best ? score(best.findings) : 0)) best = { way, findings }
    // Why the best way of all falls short says more than why the last resort does.
    else best ??= { findings }
    if (score(findings) === 3) break
  }
  const { network, files, processes } = best?.findings ?? {}
  const reasons = [...new Set([network, files, processes].filter((one) => one !== undefined))]
  return {
    ...(best?.way ? { way: best.way } : {}),
    isolation: {
      network: network === undefined,
      files: files === undefined,
      processes: processes === undefined,
    },
    ...(reasons.length === 0 ? {} : { reason: reasons.join('; ') }),
  }
}

const KINDS: Readonly<Record<keyof Isolation, readonly string[]>> = {
  network: ['net'],
  files: ['mnt'],
  processes: ['pid_for_children', 'ipc', 'uts'],
}

/** Whether a running process is in other namespaces than this one; false where nobody can tell. */
export function elsewhere(pid: number, part: keyof Isolation): boolean {
  try {
    return KINDS[part].every(
      (kind) => readlinkSync(`/proc/${pid}/ns/${kind}`) !== readlinkSync(`/proc/self/ns/${kind}`),
    )
  } catch {
    return false
  }
}
