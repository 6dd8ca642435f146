import { statSync } from 'node:fs'

import type { Caller, Executable } from './caller.ts'
import { denied } from './grpc.ts'

/** What a process must be to be an instance of an agent; all that is given must hold. */
interface UnixSelectors {
  readonly uid: number
  readonly gid?: number
  /** Of the executable, absolute. */
  readonly path?: string
  /** Of the executable, lower-case hex. */
  readonly sha256?: string
}

export interface DeclaredProcess {
  readonly agent: string
  readonly unix: UnixSelectors
}

/**
 * The one declared agent that a process is.
 *
 * @throws SallyportError `SP_WORKLOAD_DENIED` where it is none, or could be several
 */
export async function attest(
  caller: Caller,
  declared: readonly DeclaredProcess[],
): Promise<string> {
  const who = `process ${caller.pid} (user ${caller.uid}, group ${caller.gid})`
  const candidates = declared.filter(
    ({ unix }) => unix.uid === caller.uid && (unix.gid === undefined || unix.gid === caller.gid),
  )
  const matching: string[] = []
  const reasons: string[] = []
  for (const { agent, unix } of candidates) {
    const reason = await mismatch(caller, unix)
    if (reason === undefined) matching.push(agent)
    else reasons.push(`not \`${agent}\`: ${reason}`)
  }
  // Whatever was read before counts only if it is still the process that connected.
  caller.check()
  const [agent, ...others] = matching
  if (agent === undefined) {
    throw denied(`${who} is no declared agent${reasons.map((text) => `; ${text}`).join('')}`)
  }
  if (others.length > 0) throw denied(`${who} could be ${matching.join(' or ')}`)
  return agent
}

/** Why the executable is not the declared one; undefined where it is. */
async function mismatch(caller: Caller, unix: UnixSelectors): Promise<string | undefined> {
  if (unix.path === undefined && unix.sha256 === undefined) return undefined
  const executable = await caller.executable()
  // Whoever may write to the file decides what it is, so neither its name nor its content would prove anything.
  if (executable.openToOthers) return 'its executable can be changed by others than its owner'
  if (executable.ownerUid === caller.uid && caller.uid !== 0) {
    return 'its executable belongs to the very user that runs it'
  }
  if (unix.path !== undefined && !isAt(executable, unix.path)) {
    return `its executable is not ${unix.path}`
  }
  if (unix.sha256 !== undefined && (await executable.sha256()) !== unix.sha256) {
    return 'its executable has another hash'
  }
  return undefined
}

/**
 * Whether the file at a path, as this process sees it, is the one that runs. The path that the kernel shows of the other
 * process is not asked: in a mount namespace of its own, it can give any file any name.
 */
function isAt({ dev, ino }: Executable, path: string): boolean {
  const there = statSync(path, { bigint: true, throwIfNoEntry: false })
  return there !== undefined && there.dev === dev && there.ino === ino
}
