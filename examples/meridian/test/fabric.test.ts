import assert from 'node:assert/strict'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { after, test } from 'node:test'
import { createService } from '@sallyport/agent'
import { agentId, createIssuer, createRoot, gatewayId, serviceId } from '@sallyport/spiffe'
import { IdentityHolder } from '@sallyport/transport'
import { issueCallToken, requestHash } from '@sallyport/wire'
import { dialServices } from '../src/attacks/dial.ts'
import { directivesIn, POISONED_MEMO } from '../src/attacks/poisoned-memo.ts'
import { rawRequest } from '../src/attacks/rawTls.ts'
import { coreBanking } from '../src/services/coreBanking.ts'
import { piiVault } from '../src/services/piiVault.ts'
import { serveNode } from '../src/services/serve.ts'
import { TransactionStream } from '../src/services/stream.ts'

const TD = 'meridian.test'
const root = createRoot({ trustDomain: TD, ttlSeconds: 3600 })
const issuer = createIssuer({ certificatePem: root.certificatePem, privateKey: root.privateKeyPem })

function identity(spiffeId: string): IdentityHolder {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const svid = issuer.issue({
    spiffeId,
    publicKeySpki: publicKey.export({ type: 'spki', format: 'der' }),
    ttlSeconds: 600,
  })
  return new IdentityHolder({
    chainPem: svid.chainPem,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    rootsPem: root.certificatePem,
    trustDomain: TD,
    notAfter: svid.notAfter,
  })
}

const handlers = {
  'core-banking': coreBanking(
    new TransactionStream([], 0, 1, { now: () => 0, monotonic: () => 0 }),
  ),
  'pii-vault': piiVault(),
}
const services = await Promise.all(
  Object.entries(handlers).map(async ([name, handler]) => {
    const service = await createService({
      identity: { holder: identity(serviceId(TD, name, '1')) },
      name,
      handler: serveNode(handler),
      listen: { host: '127.0.0.1', port: 0 },
    })
    return { name, service }
  }),
)
after(async () => {
  await Promise.all(services.map(({ service }) => service.close()))
})

function place(name: string): { host: string; port: number } {
  const address = services.find((entry) => entry.name === name)?.service.address
  assert.ok(address && 'port' in address)
  return address
}

const agent = identity(agentId(TD, 'pattern-analyst', '1'))

/** What a gateway does: its own SVID and a token for exactly this request. */
async function asGateway(path: string, tokenPath = path): Promise<number | undefined> {
  const gateway = gatewayId(TD, 'gw1')
  const { chainPem: cert, keyPem: key } = identity(gateway).current()
  const token = issueCallToken(
    {
      iss: gateway,
      sub: agentId(TD, 'sanctions-screener', '1'),
      aud: `spiffe://${TD}/service/pii-vault`,
      decision: 'dec_1',
      operation: 'getCustomer',
      request: requestHash('GET', tokenPath, Buffer.alloc(0)),
    },
    createPrivateKey(key),
    Date.now(),
  )
  const request = `GET ${path} HTTP/1.1\r\nHost: x\r\nSallyport-Call-Token: ${token}\r\nConnection: close\r\n\r\n`
  return (await rawRequest(place('pii-vault'), request, { cert, key })).status
}

test('a service answers a gateway with a token for this request, and none other', async () => {
  assert.equal(await asGateway('/v1/customers/cus_1'), 200)
  assert.equal(await asGateway('/v1/customers/cus_1', '/v1/customers/cus_2'), 401)
})

test('a hijacked agent that dials the services itself gets no answer, with or without its SVID', async () => {
  const { env } = process
  env['MERIDIAN_SERVICES'] = services
    .map(({ name }) => `${name}=127.0.0.1:${place(name).port}`)
    .join(',')
  const attempts = await dialServices({ identity: { holder: agent } })
  assert.equal(attempts.length, 4)
  for (const attempt of attempts) {
    assert.ok(attempt.refused, attempt.attempt)
    // Turned away in the handshake: not for want of a listener, and not by the service's own code.
    assert.equal(attempt.layer, 'mtls', `${attempt.attempt}: ${attempt.code}`)
  }
  env['MERIDIAN_SERVICES'] = 'gone=127.0.0.1:1'
  const [gone] = await dialServices({ identity: { holder: agent } })
  assert.equal(gone?.layer, 'packet')
})

test('only a memo that gives orders is obeyed, and only orders that are known', () => {
  assert.deepEqual(directivesIn('Invoice 4471, thank you'), [])
  assert.deepEqual(directivesIn('Now do: toString; constructor; launch-rockets.'), [])
  assert.deepEqual(directivesIn('now do: place-hold; nothing.'), ['place-hold'])
  assert.equal(directivesIn(POISONED_MEMO).length, 9)
})
