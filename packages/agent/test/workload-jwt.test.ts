import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'

import { credentials, makeClientConstructor, Metadata, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { issueJwtSvid } from '@sallyport/spiffe'

import { enrol, lazyWorkload } from '../src/index.ts'
import { WORKLOAD_SERVICE } from '../src/workload/grpc.ts'
import { serveWorkloadApi } from '../src/workload/serve.ts'
import { makeFabric, newJwtAuthority, Plane, TRUST_DOMAIN } from './plane.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-jwt-'))
after(() => {
  rmSync(dir, { recursive: true, force: true })
})

const ID = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`
const OTHER = `spiffe://${TRUST_DOMAIN}/agent/flagger/1`
const AUDIENCE = 'https://ledger.bank.test'
const spiffe = new Metadata()
spiffe.set('workload.spiffe.io', 'true')

interface Served extends AsyncDisposable {
  readonly plane: Plane
  call(method: string, request: object, metadata?: Metadata): Promise<Record<string, unknown>>
  bundles(): Promise<Record<string, Buffer>>
}

let sockets = 0

async function served(): Promise<Served> {
  const fabric = makeFabric()
  const plane = new Plane(fabric)
  plane.tokens.set('t', ID)
  const running = await plane.start()
  const workload = lazyWorkload((onRotationError) =>
    enrol({
      rootsPem: fabric.root.certificatePem,
      trustDomain: TRUST_DOMAIN,
      token: 't',
      planeTarget: running.target,
      onRotationError,
    }),
  )
  const api = await serveWorkloadApi({
    path: join(dir, `${++sockets}.sock`),
    admit: async () => ({ source: await workload.source(), recheck: () => undefined }),
  })
  const Client = makeClientConstructor(WORKLOAD_SERVICE, 'SpiffeWorkloadAPI')
  const client = new Client(api.endpoint, credentials.createInsecure())
  return {
    plane,
    call(method, request, metadata = spiffe) {
      const { path, requestSerialize, responseDeserialize } = WORKLOAD_SERVICE[method] ?? {}
      assert.ok(path !== undefined && requestSerialize && responseDeserialize)
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          path,
          (value: object) => requestSerialize(value),
          responseDeserialize,
          request,
          metadata,
          (error: ServiceError | null, value?: Record<string, unknown>) => {
            if (error) reject(error)
            else resolve(value ?? {})
          },
        )
      })
    },
    bundles() {
      const { path, responseDeserialize } = WORKLOAD_SERVICE['FetchJWTBundles'] ?? {}
      assert.ok(path !== undefined && responseDeserialize)
      const stream = client.makeServerStreamRequest(
        path,
        () => Buffer.alloc(0),
        responseDeserialize,
        {},
        spiffe,
      )
      return new Promise((resolve, reject) => {
        stream.once('data', ({ bundles }: { bundles: Record<string, Buffer> }) => {
          resolve(bundles)
          stream.cancel()
        })
        stream.on('error', reject)
      })
    },
    async [Symbol.asyncDispose]() {
      client.close()
      workload.withdraw('the test is over')
      api.close()
      await running[Symbol.asyncDispose]()
    },
  }
}

async function tokenFrom(api: Served): Promise<string> {
  // What the message holds.
  const { svids } = (await api.call('FetchJWTSVID', { audience: [AUDIENCE] })) as {
    svids: { spiffe_id: string; svid: string }[]
  }
  assert.deepEqual(
    svids.map(({ spiffe_id }) => spiffe_id),
    [ID],
  )
  return svids[0]?.svid ?? ''
}

const invalid = { code: status.INVALID_ARGUMENT }

describe('JWT-SVIDs of the Workload API', () => {
  it('gives a token that anybody verifies with the bundle', async () => {
    await using api = await served()
    const token = await tokenFrom(api)
    const bundles = await api.bundles()
    assert.deepEqual(Object.keys(bundles), [`spiffe://${TRUST_DOMAIN}`])
    // What the document holds.
    const { keys } = JSON.parse(String(bundles[`spiffe://${TRUST_DOMAIN}`])) as {
      keys: (JsonWebKey & { kid: string })[]
    }
    const [head = '', payload = '', signature = ''] = token.split('.')
    const part = (text: string): Record<string, unknown> =>
      // A part of a token is an object.
      JSON.parse(String(Buffer.from(text, 'base64url'))) as Record<string, unknown>
    const jwk = keys.find(({ kid }) => kid === part(head)['kid'])
    assert.ok(jwk)
    // JOSE libraries leave keys out whose `use` is not `sig`.
    assert.equal(jwk['use'], undefined)
    const key = {
      key: createPublicKey({ key: jwk, format: 'jwk' }),
      dsaEncoding: 'ieee-p1363',
    } as const
    const signed = Buffer.from(`${head}.${payload}`)
    assert.ok(verify('sha256', signed, key, Buffer.from(signature, 'base64url')))
    assert.equal(part(payload)['sub'], ID)
    assert.deepEqual(part(payload)['aud'], [AUDIENCE])
  })

  it('validates a token for its audience, and tells whose it is', async () => {
    await using api = await served()
    const svid = await tokenFrom(api)
    const valid = await api.call('ValidateJWTSVID', { audience: AUDIENCE, svid })
    assert.equal(valid['spiffe_id'], ID)
    // As protobuf has a JSON object.
    const { fields } = valid['claims'] as { fields: Record<string, { stringValue?: string }> }
    assert.equal(fields['sub']?.stringValue, ID)
    const cases: readonly [string, string][] = [
      ['https://other.bank.test', svid],
      [AUDIENCE, `${svid.slice(0, -4)}AAAA`],
      [AUDIENCE, 'no token'],
      ['', svid],
    ]
    for (const [audience, text] of cases) {
      await assert.rejects(api.call('ValidateJWTSVID', { audience, svid: text }), invalid, audience)
    }
    const foreign = await issueJwtSvid(newJwtAuthority(), { spiffeId: OTHER, audience: [AUDIENCE] })
    const asked = { audience: AUDIENCE, svid: foreign.token }
    await assert.rejects(api.call('ValidateJWTSVID', asked), invalid)
  })

  it('knows a key that was made since it asked', async () => {
    await using api = await served()
    assert.ok(await tokenFrom(api))
    assert.ok(await api.bundles())
    api.plane.jwt = newJwtAuthority()
    const svid = await tokenFrom(api)
    let answer: unknown
    // Unknown keys are asked for once a second at most.
    for (let i = 0; i < 100 && answer === undefined; i++) {
      answer = await api
        .call('ValidateJWTSVID', { audience: AUDIENCE, svid })
        .catch(() => undefined)
      if (answer === undefined) await new Promise((resolve) => setTimeout(resolve, 100))
    }
    assert.ok(answer)
  })

  it('refuses the id of another, no audience, and calls without metadata', async () => {
    await using api = await served()
    for (const request of [
      { audience: [AUDIENCE], spiffe_id: OTHER },
      { audience: [] },
      { audience: [''] },
      { audience: [AUDIENCE, AUDIENCE] },
      { audience: Array.from({ length: 9 }, (_, i) => `a${i}`) },
    ]) {
      await assert.rejects(api.call('FetchJWTSVID', request), invalid, JSON.stringify(request))
    }
    const bare = new Metadata()
    await assert.rejects(api.call('FetchJWTSVID', { audience: [AUDIENCE] }, bare), invalid)
    const svid = await tokenFrom(api)
    await assert.rejects(api.call('ValidateJWTSVID', { audience: AUDIENCE, svid }, bare), invalid)
    const own = { audience: [AUDIENCE], spiffe_id: ID }
    assert.ok(await api.call('FetchJWTSVID', own))
  })

  it('hands out nothing more once the control plane says that it is cut off', async () => {
    await using api = await served()
    assert.ok(await tokenFrom(api))
    api.plane.cut = true
    const denied = { code: status.PERMISSION_DENIED }
    await assert.rejects(tokenFrom(api), denied)
    await assert.rejects(api.bundles(), denied)
  })
})
