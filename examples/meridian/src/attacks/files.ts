import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { failureCode } from '../events.ts'
import type { Attempt } from './attempt.ts'

const TIMEOUT_MS = 2000

/** Reads the key that signs every identity. The process runs as the user who owns it, so modes do not stop it. */
export function readCaKey(): Attempt[] {
  const attempt = 'read the CA key'
  try {
    const key = readFileSync(join(dataDir(), 'trust', 'ca.key'))
    return [verdict(attempt, key.length > 0 ? undefined : 'empty')]
  } catch (error) {
    return [verdict(attempt, failureCode(error))]
  }
}

/** Opens the control plane's local socket, where it could make itself join tokens for any agent. */
export async function openAdminSocket(): Promise<Attempt[]> {
  const path = join(dataDir(), 'run', 'admin.sock')
  const code = await new Promise<string | undefined>((resolve) => {
    const socket = connect(path)
    const done = (result: string | undefined): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(result)
    }
    const timer = setTimeout(() => done('ETIMEDOUT'), TIMEOUT_MS)
    socket.once('connect', () => done(undefined))
    socket.once('error', (error) => done(failureCode(error)))
  })
  return [verdict('open the admin socket', code)]
}

/** Where the attacker knows the data directory to be; the usual place if it was not told. */
const dataDir = (): string => process.env['MERIDIAN_DATA_DIR'] ?? '.sallyport'

const verdict = (attempt: string, code: string | undefined): Attempt => ({
  attempt,
  layer: code === undefined ? 'none' : 'files',
  refused: code !== undefined,
  code: code ?? 'opened',
})
