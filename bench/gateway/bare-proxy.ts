/**
 * A proxy in Node that does nothing but carry: mutual TLS on both sides, Node's HTTP server, undici. No decision, no record, nothing read or left
 * out. What a gateway that is one Node process could come near to, and not pass.
 */
import { createServer as createHttp } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTls } from 'node:tls'
import { IdentityHolder, mtlsConnector } from '@sallyport/transport'
import { Pool } from 'undici'
import type { Backend } from './backend.ts'
import { at } from './children.ts'

export interface BareProxyReady {
  readonly port: number
}

const { BENCH_BACKEND: given = '' } = process.env
// The bench wrote it.
const { rival, upstreamPort } = JSON.parse(given) as Pick<Backend, 'rival' | 'upstreamPort'>
const pool = new Pool('https://service.invalid', {
  connections: 64,
  connect: mtlsConnector({
    identity: new IdentityHolder(rival),
    target: at(upstreamPort),
    expect: () => true,
    timeoutMs: 60_000,
  }),
})
const http = createHttp({ noDelay: true, keepAliveTimeout: 600_000 }, (req, res) => {
  const path = (req.url ?? '').replace(/^\/bank/, '')
  const options = { method: 'GET', path, headers: { accept: 'application/json' } } as const
  pool.dispatch(options, {
    onRequestStart: () => undefined,
    onResponseStart: (_controller, status, headers) => {
      const { 'content-type': type, 'content-length': length } = headers
      res.writeHead(status, { 'content-type': String(type), 'content-length': String(length) })
    },
    onResponseData: (_controller, chunk) => {
      res.write(chunk)
    },
    onResponseEnd: () => {
      res.end()
    },
    onResponseError: () => {
      res.destroy()
    },
  })
})
const tls = createTls(
  {
    ...{ cert: rival.chainPem, key: rival.keyPem, ca: [rival.rootsPem].flat() },
    ...{ minVersion: 'TLSv1.3', requestCert: true, rejectUnauthorized: true },
    ALPNProtocols: ['http/1.1'],
  },
  (socket) => {
    http.emit('connection', socket)
  },
)
tls.listen(0, '127.0.0.1', () => {
  // Port of a TCP listener.
  const ready: BareProxyReady = { port: (tls.address() as AddressInfo).port }
  process.send?.(ready)
})
process.once('disconnect', () => process.exit(0))
