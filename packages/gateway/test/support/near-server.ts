import type { TLSSocket } from 'node:tls'
import { gatewayId } from '@sallyport/spiffe'
import { createMtlsServer, IdentityHolder, mtlsConnector } from '@sallyport/transport'
import type { Connector, MtlsServer } from '@sallyport/transport'
import type { AnswerControl, AnswerHeaders, Connections } from '../../src/upstream/connections.ts'
import { TestPlane } from './plane.ts'
import { declared } from './world.ts'

/** A server behind mutual TLS that says what a test wants, whether it is HTTP or not. */
export class NearServer {
  readonly sockets: TLSSocket[] = []
  /** Everything that was heard, by connection. */
  readonly heard: string[] = []
  /** Is called whenever a connection has said something. */
  onData: (socket: TLSSocket, heard: string, connection: number) => void = () => undefined
  #mtls: MtlsServer | undefined
  connector: Connector = () => undefined

  async listen(): Promise<void> {
    const plane = new TestPlane(await declared())
    this.#mtls = createMtlsServer({
      identity: new IdentityHolder(plane.service('bank')),
      accept: () => true,
      handshakeTimeoutMs: 60_000,
      onConnection: (socket) => {
        const connection = this.sockets.push(socket) - 1
        this.heard.push('')
        socket.on('error', () => undefined)
        socket.on('data', (bytes: Buffer) => {
          const heard = (this.heard[connection] ?? '') + bytes.toString('latin1')
          this.heard[connection] = heard
          this.onData(socket, heard, connection)
        })
      },
    })
    const address = await this.#mtls.listen({ host: '127.0.0.1', port: 0 })
    if (typeof address === 'string') throw new Error('no port')
    this.connector = mtlsConnector({
      identity: new IdentityHolder(plane.issue(gatewayId(plane.trustDomain, 'gw1'), 3600)),
      target: { host: '127.0.0.1', port: address.port },
      expect: () => true,
      timeoutMs: 60_000,
    })
  }

  /** Answers each request of a head alone, or with so many bytes behind it. */
  answers(text: string, body = 0): void {
    this.onData = (socket, heard) => {
      const end = heard.indexOf('\r\n\r\n')
      if (end < 0 || heard.length < end + 4 + body) return
      this.heard[this.sockets.indexOf(socket)] = ''
      socket.write(text, 'latin1')
    }
  }

  async close(): Promise<void> {
    await this.#mtls?.close()
  }
}

export interface Asked {
  readonly method?: string
  readonly path?: string
  readonly headers?: Record<string, string>
  readonly body?: Buffer | null
  readonly headersTimeout?: number
  readonly bodyTimeout?: number
  onStart?(control: AnswerControl): void
  onData?(control: AnswerControl, piece: Buffer): void
}

export interface Answered {
  readonly status: number
  readonly headers: AnswerHeaders
  readonly body: string
}

/** Asks on a pool. @throws whatever the pool says went wrong */
export function askPool(pool: Connections, asked: Asked = {}): Promise<Answered> {
  return new Promise((resolve, reject) => {
    let status = 0
    let headers: AnswerHeaders = {}
    const body: Buffer[] = []
    pool.dispatch(
      {
        ...{ method: 'GET', path: '/v1/a', headers: {}, body: null, blocking: false },
        ...{ headersTimeout: 60_000, bodyTimeout: 60_000 },
        ...asked,
      },
      {
        onRequestStart: (control) => asked.onStart?.(control),
        onResponseStart: (_control, given, all) => {
          status = given
          headers = all
        },
        onResponseData: (control, piece) => {
          body.push(piece)
          asked.onData?.(control, piece)
        },
        onResponseEnd: () => {
          // By then its connection is free again.
          setImmediate(resolve, { status, headers, body: Buffer.concat(body).toString('latin1') })
        },
        onResponseError: (_control, error) => {
          reject(error)
        },
      },
    )
  })
}
