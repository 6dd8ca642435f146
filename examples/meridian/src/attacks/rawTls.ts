import { connect } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import type { Target } from '../env.ts'
import { failureCode } from '../events.ts'

/** How far a hand-made request got. */
export interface RawAnswer {
  /** Whether the TLS handshake finished on this side. */
  readonly secure: boolean
  /** Of the HTTP answer, if one came. */
  readonly status?: number
  /** Errno, TLS code or `closed`, where none came. */
  readonly code: string
}

const TIMEOUT_MS = 2000

/** Writes raw bytes over TLS, trusting anyone: an attacker does not care who answers. */
export function rawRequest(
  target: Target,
  request: string,
  credentials: Pick<ConnectionOptions, 'cert' | 'key'>,
): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let secure = false
    let answer = ''
    const socket = connect({
      ...target,
      ...credentials,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
    })
    const done = (code: string): void => {
      clearTimeout(timer)
      socket.destroy()
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1]
      resolve(
        status === undefined
          ? { secure, code }
          : { secure, status: Number(status), code: `HTTP_${status}` },
      )
    }
    const timer = setTimeout(() => done('ETIMEDOUT'), TIMEOUT_MS)
    socket.once('secureConnect', () => {
      secure = true
      socket.write(request)
    })
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      if (answer.includes('\r\n')) done('answered')
    })
    socket.once('error', (error) => done(failureCode(error)))
    socket.once('close', () => done('closed'))
  })
}
