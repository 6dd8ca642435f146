import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '@sallyport/base'
import { indexNetwork, loadDeclaration } from '@sallyport/network'
import { Provider } from 'oidc-provider'
import { ArtefactAdapter } from '../src/artefacts.ts'
import { createConsents } from '../src/consent.ts'
import { systemUri } from '../src/resource.ts'
import { Rows } from './rows.ts'

const MERIDIAN = new URL('../../../examples/meridian/network.yaml', import.meta.url)
const UID = 'a-request-that-waits'
const REDIRECT = 'http://127.0.0.1:51234/callback'
const evidence = { credential: 'c', session: 's', signed: '{}' }

test('MUST-reject: what a declaration adds between the signature and the grant is not granted', async () => {
  const { network } = await loadDeclaration({ networkFile: MERIDIAN.pathname })
  const { trustDomain } = network
  const operationsOf = (name: string): readonly string[] =>
    network.systems.find((system) => system.name === name)?.operations.map((one) => one.name) ?? []
  const agents = new Set(network.agents.map(({ name }) => name))
  const flow = network.flows.find(
    ({ from, to, operations }) => agents.has(from) && operationsOf(to).length > operations.length,
  )
  assert.ok(flow)
  const narrow = indexNetwork({ ...network, flows: [flow] })
  const wide = indexNetwork({
    ...network,
    flows: [{ ...flow, operations: operationsOf(flow.to) }],
  })
  const rows = new Rows()
  const provider = new Provider('http://localhost', {
    adapter: (kind: string) => new ArtefactAdapter(kind, rows, systemClock),
    features: { devInteractions: { enabled: false } },
    ttl: { Grant: 600 },
  })
  const now = Math.floor(Date.now() / 1000)
  const params = {
    client_id: `spiffe://${trustDomain}/agent/${flow.from}/1`,
    resource: systemUri(trustDomain, flow.to),
    redirect_uri: REDIRECT,
    // All that there is: only what is declared for the client is shown, signed and granted.
    scope: operationsOf(flow.to).join(' '),
  }
  await new ArtefactAdapter('Interaction', rows, systemClock).upsert(
    UID,
    { jti: UID, kind: 'Interaction', iat: now, exp: now + 600, returnTo: REDIRECT, params },
    600,
  )
  let current = narrow
  const opened: unknown[] = []
  const consents = createConsents(provider, {
    ...{ trustDomain, clock: systemClock, network: () => current },
    grants: {
      open: (grant) => {
        opened.push(grant)
        return Promise.resolve()
      },
      holds: () => Promise.resolve(true),
      end: () => Promise.resolve(),
    },
  })
  const request = await consents.find(UID)
  assert.ok(request)
  assert.deepEqual(request.scope, flow.operations.toSorted())
  const consent = { subject: 'operator:alice', request, evidence }
  current = wide
  assert.equal(await consents.decide(UID, consent), undefined)
  assert.deepEqual(opened, [])
  current = narrow
  assert.equal(await consents.decide(UID, consent), REDIRECT)
  assert.equal(opened.length, 1)
})
