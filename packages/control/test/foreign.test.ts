import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Federation } from '@sallyport/network'
import {
  createJwtAuthority,
  createRoot,
  readBundleDocument,
  TrustBundle,
  verifyJwtSvid,
  writeBundleDocument,
} from '@sallyport/spiffe'
import { systemClock } from '@sallyport/base'
import { createForeigners, federationFolder } from '@sallyport/transport'
import type { Foreigners } from '@sallyport/transport'
import { declarationWith, TRUST_DOMAIN } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import { WebCa } from './support/tls.ts'

const PARTNER = 'partner.example'
const BUNDLE_PATH = '/federation/bundle'
const root = createRoot({ trustDomain: PARTNER, ttlSeconds: 86_400 })
const keyOf = () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return createJwtAuthority(PARTNER, { publicKey, sign: () => Buffer.alloc(0) })
}
const keys = keyOf()
const documentOf = (sequence: number | undefined, ...jwt: (typeof keys)[]): string =>
  writeBundleDocument({
    bundle: TrustBundle.fromPem(PARTNER, root.certificatePem, jwt),
    refreshHintSeconds: 86_400,
    ...(sequence === undefined ? {} : { sequence }),
  })

const dir = mkdtempSync(join(tmpdir(), 'sp-foreign-'))
const all: Foreigners[] = []
after(() => {
  for (const one of all) one.stop()
  rmSync(dir, { recursive: true })
})
let folders = 0
const folder = (): string => join(dir, String(++folders))
function follow(where: string, ...federation: Federation[]): Foreigners {
  // The first fetch comes by itself as well; what a test asks for is told to the test.
  const one = createForeigners({
    store: federationFolder(where),
    clock: systemClock,
    onError: () => undefined,
  })
  all.push(one)
  one.declare(federation)
  return one
}

describe('bundles of other trust domains, by the web', () => {
  const ca = new WebCa()
  const leaf = ca.leaf({ dns: ['localhost'] })
  let server: Server
  let answer: RequestListener
  let url = ''
  const serve = (text: string): void => {
    answer = (_request, response) => response.end(text)
  }
  before(async () => {
    server = createServer({ cert: leaf.pem + ca.issuer.pem, key: leaf.keyPem }, (...call) =>
      answer(...call),
    )
    const { promise, resolve } = Promise.withResolvers<undefined>()
    server.listen(0, '127.0.0.1', () => resolve(undefined))
    await promise
    // A TCP listener always has an AddressInfo.
    url = `https://localhost:${(server.address() as AddressInfo).port}/bundle`
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  const partner = (over: Partial<Federation> = {}): Federation => ({
    ...{ trustDomain: PARTNER, url, profile: 'https_web', ca: ca.root.pem },
    ...over,
  })
  const held = (one: Foreigners): TrustBundle | undefined => one.bundles().get(PARTNER)

  it('are fetched, verified and shown, one a domain', async () => {
    serve(documentOf(7, keys))
    const one = follow(folder(), partner())
    await one.refresh(PARTNER)
    assert.equal(held(one)?.jwtKeys.has(keys.kid), true)
    assert.equal(held(one)?.authorities.length, 1)
    const [view] = one.view()
    assert.equal(view?.sequence, 7)
    assert.equal(view.failure, undefined)
    assert.deepEqual(view.bundle, JSON.parse(documentOf(7, keys)))
  })

  it('go forward only, and outlive failures and restarts', async () => {
    const where = folder()
    serve(documentOf(7, keys))
    const one = follow(where, partner())
    await one.refresh(PARTNER)
    const newer = keyOf()
    serve(documentOf(8, newer))
    await one.refresh(PARTNER)
    assert.equal(held(one)?.jwtKeys.has(newer.kid), true)
    const refused: readonly [string, string][] = [
      [documentOf(7, keys), 'SP_FEDERATION_OLDER'],
      [documentOf(8, keys), 'SP_FEDERATION_OLDER'],
      [documentOf(undefined, keys), 'SP_FEDERATION_OLDER'],
      ['{"keys":', 'SP_BUNDLE_DOCUMENT'],
    ]
    for (const [text, code] of refused) {
      serve(text)
      await assert.rejects(one.refresh(PARTNER), { code }, text)
      assert.equal(held(one)?.jwtKeys.has(newer.kid), true)
      assert.equal(one.view()[0]?.failure, code)
    }
    // The same again is no step back.
    serve(documentOf(8, newer))
    await one.refresh(PARTNER)
    assert.equal(one.view()[0]?.failure, undefined)
    one.stop()
    serve(documentOf(7, keys))
    const again = follow(where, partner())
    assert.equal(held(again)?.jwtKeys.has(newer.kid), true)
    await assert.rejects(again.refresh(PARTNER), { code: 'SP_FEDERATION_OLDER' })
  })

  it('trust nothing once their domain says so', async () => {
    serve(documentOf(1, keys))
    const one = follow(folder(), partner())
    await one.refresh(PARTNER)
    serve('{"keys":[],"spiffe_sequence":2}')
    await one.refresh(PARTNER)
    assert.equal(held(one)?.authorities.length, 0)
    assert.equal(held(one)?.jwtKeys.size, 0)
  })

  it('come from the declared server only: no redirect, no other CA, no other name, bounded', async () => {
    const target = documentOf(3, keys)
    serve(target)
    const good = follow(folder(), partner())
    await good.refresh(PARTNER)
    const refuse = async (over: Partial<Federation> = {}): Promise<void> => {
      const one = follow(folder(), partner(over))
      await assert.rejects(one.refresh(PARTNER), { code: 'SP_FEDERATION_FETCH' })
      assert.equal(held(one), undefined)
    }
    await refuse({ ca: new WebCa().root.pem })
    await refuse({ url: url.replace('localhost', '127.0.0.1') })
    let followed = false
    answer = (request, response) => {
      followed ||= request.url === '/elsewhere'
      response.writeHead(302, { location: '/elsewhere' }).end(target)
    }
    await refuse()
    assert.equal(followed, false)
    answer = (_request, response) => response.writeHead(404).end(target)
    await refuse()
    serve(`${target}${' '.repeat(1_100_000)}`)
    await refuse()
  })

  it('are forgotten when they are no longer declared, and never fetched undeclared', async () => {
    serve(documentOf(1, keys))
    const one = follow(folder(), partner())
    await one.refresh(PARTNER)
    one.declare([])
    assert.equal(one.bundles().size, 0)
    await assert.rejects(one.refresh(PARTNER), { code: 'SP_FEDERATION_UNKNOWN' })
  })
})

describe('the bundle of this trust domain', () => {
  let plane: TestPlane
  before(async () => {
    plane = await TestPlane.start(declarationWith())
  })
  after(() => plane.close())

  it('is served on the plane, which proves itself by its SVID (https_spiffe)', async () => {
    const { host, port } = plane.control.planeAddress
    const agent = await plane.enrol('agent', 'flagger')
    const roots = TrustBundle.fromPem(TRUST_DOMAIN, agent.holder?.current().rootsPem ?? '')
    const declared: Federation = {
      trustDomain: TRUST_DOMAIN,
      url: `https://${host}:${port}${BUNDLE_PATH}`,
      profile: 'https_spiffe',
      spiffeId: `spiffe://${TRUST_DOMAIN}/control`,
      bundle: writeBundleDocument({ bundle: roots }),
    }
    const one = follow(folder(), declared)
    await one.refresh(TRUST_DOMAIN)
    const got = await agent.call('POST', '/v1/jwt-svid', { audience: ['partner'] })
    const token = String(got.body['token'])
    const verified = verifyJwtSvid(token, one.bundles(), { audience: 'partner', now: Date.now() })
    assert.equal(verified.id.uri, agent.spiffeId)
    const refuse = async (over: Partial<Federation>): Promise<void> => {
      const other = follow(folder(), { ...declared, ...over })
      await assert.rejects(other.refresh(TRUST_DOMAIN), { code: 'SP_FEDERATION_FETCH' })
    }
    await refuse({ spiffeId: `spiffe://${TRUST_DOMAIN}/gateway/g1` })
    const { certificatePem } = createRoot({ trustDomain: TRUST_DOMAIN, ttlSeconds: 60 })
    const bundle = TrustBundle.fromPem(TRUST_DOMAIN, certificatePem)
    await refuse({ bundle: writeBundleDocument({ bundle }) })
    await refuse({ bundle: '{"keys":[]}' })
  })

  it('is served at the console’s origin, to anybody (https_web)', async () => {
    const response = await fetch(`${plane.control.consoleUrl}${BUNDLE_PATH}`)
    assert.equal(response.status, 200)
    assert.equal(response.headers.get('content-type'), 'application/json')
    const { bundle, sequence } = readBundleDocument(TRUST_DOMAIN, await response.text())
    assert.equal(bundle.authorities.length, 1)
    assert.ok(bundle.jwtKeys.size >= 1)
    assert.ok((sequence ?? 0) > 1_700_000_000)
    const posted = await fetch(`${plane.control.consoleUrl}${BUNDLE_PATH}`, { method: 'POST' })
    assert.notEqual(posted.status, 200)
  })
})
