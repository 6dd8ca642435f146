import type { Socket } from 'node:net'

import { Caller } from './caller.ts'
import { denied } from './grpc.ts'
import { attest } from './match.ts'
import type { DeclaredProcess } from './match.ts'
import type { Admission } from './serve.ts'
import type { WorkloadSource } from './source.ts'

const MAX_CONNECTIONS_PER_USER = 64

/**
 * Admits whoever is exactly one of the declared processes. It is looked at again before everything that is sent to it.
 *
 * @param declared asked anew for each connection
 * @param sourceOf the identity of an agent
 */
export function attesting(
  declared: () => readonly DeclaredProcess[],
  sourceOf: (agent: string) => Promise<WorkloadSource>,
): (socket: Socket) => Promise<Admission> {
  const open = new Map<number, number>()
  return async (socket) => {
    const caller = await Caller.of(socket)
    const { uid } = caller
    const count = (open.get(uid) ?? 0) + 1
    open.set(uid, count)
    const leave = (): void => {
      const left = (open.get(uid) ?? 1) - 1
      if (left > 0) open.set(uid, left)
      else open.delete(uid)
      caller[Symbol.dispose]()
    }
    if (socket.destroyed) leave()
    else socket.once('close', leave)
    if (count > MAX_CONNECTIONS_PER_USER) throw denied(`user ${uid} has too many connections`)
    const agent = await attest(caller, declared())
    const source = await sourceOf(agent)
    caller.check()
    return {
      source,
      recheck() {
        caller.check()
      },
    }
  }
}
