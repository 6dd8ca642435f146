import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Server } from 'node:net'
import { join } from 'node:path'

import { SallyportError } from '@sallyport/base'

import { tool } from './enclose.ts'

const WAIT_MS = 10_000

/**
 * Listens on loopback inside the network of a running process, from outside: a socket stays in the network that it was made in,
 * whoever holds it. Nobody but that process and what it starts can reach it, and no other process has to stay in there.
 *
 * @param user whether the process has a user namespace of its own, too
 * @throws SallyportError `SP_LAUNCH_FAILED`
 */
export async function listenInside(pid: number, user: boolean, port: number): Promise<Server> {
  const enter = ['-t', String(pid), ...(user ? ['-U', '--preserve-credentials'] : []), '-n', '--']
  const script = join(import.meta.dirname, 'listener.ts')
  const child = spawn(
    tool('nsenter') ?? 'nsenter',
    [...enter, process.execPath, script, String(port)],
    {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Nothing of the launcher's own.
      env: { PATH: process.env['PATH'] ?? '' },
      timeout: WAIT_MS,
    },
  )
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said = (said + String(chunk)).slice(0, 2000)))
  const handed = Promise.withResolvers<Server>()
  child.on('message', (_message, handle) => {
    if (handle instanceof Server) handed.resolve(handle)
  })
  child.once('error', handed.reject)
  child.once('exit', (code) => {
    handed.reject(new Error(said.trim() || `ended with ${code}`))
  })
  try {
    const server = await handed.promise
    if (!server.listening) await once(server, 'listening')
    return server
  } catch (cause) {
    throw new SallyportError('SP_LAUNCH_FAILED', 'nothing can listen in the network of the agent', {
      detail: cause instanceof Error ? cause.message : String(cause),
      cause,
    })
  }
}
