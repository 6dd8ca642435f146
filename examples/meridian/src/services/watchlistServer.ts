/**
 * The list provider's own process: outside the bank, with a certificate authority of its own and an API key.
 * It never sees an SVID and would not know what to do with one.
 */
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { createIssuer, createRoot } from '@sallyport/spiffe'
import { count, required } from '../env.ts'
import { emitter } from '../events.ts'
import { serveNode } from './serve.ts'
import { watchlist } from './watchlist.ts'

const SERVER_NAME = 'watchlist.example'
const DAY_SECONDS = 86_400

const emit = emitter('watchlist')
const root = createRoot({ trustDomain: SERVER_NAME, ttlSeconds: DAY_SECONDS })
const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const leaf = createIssuer({
  certificatePem: root.certificatePem,
  privateKey: root.privateKeyPem,
}).issue({
  spiffeId: `spiffe://${SERVER_NAME}/server`,
  publicKeySpki: publicKey.export({ type: 'spki', format: 'der' }),
  ttlSeconds: DAY_SECONDS / 2,
  dnsNames: [SERVER_NAME],
})
writeFileSync(required('MERIDIAN_WATCHLIST_CA'), root.certificatePem)

const server = createServer(
  {
    cert: leaf.chainPem,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    minVersion: 'TLSv1.3',
  },
  serveNode(watchlist(required('MERIDIAN_WATCHLIST_KEY'))),
)
server.requestTimeout = 10_000
server.listen(count('MERIDIAN_PORT', 0), '127.0.0.1', () => {
  const address = server.address()
  emit('listening', { port: typeof address === 'object' && address ? address.port : 0 })
})
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}
