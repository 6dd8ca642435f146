import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, connect } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { after, describe, it } from 'node:test'

import { credentials, loadPackageDefinition, status } from '@grpc/grpc-js'
import type { ClientDuplexStream, ServiceClientConstructor } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { renderError } from '@sallyport/base'
import { createRoot, TrustBundle, writeBundleDocument } from '@sallyport/spiffe'
import { IdentityHolder } from '@sallyport/transport'

import { serveWorkloadApi } from '../src/workload/serve.ts'
import type { Ask } from '../src/workload/bundles.ts'
import { IdentitySource } from '../src/workload/source.ts'
import { identityOf, makeFabric, noPlane, TRUST_DOMAIN } from './plane.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-sds-'))
after(() => {
  rmSync(dir, { recursive: true, force: true })
})

/** What Envoy speaks, written apart from the source: with `Any`, and with members that the server knows nothing of. */
const ENVOY = `
syntax = "proto3";
package envoy.service.secret.v3;
import "google/protobuf/any.proto";
service SecretDiscoveryService {
  rpc DeltaSecrets(stream DeltaDiscoveryRequest) returns (stream DeltaDiscoveryResponse);
  rpc StreamSecrets(stream DiscoveryRequest) returns (stream DiscoveryResponse);
  rpc FetchSecrets(DiscoveryRequest) returns (DiscoveryResponse);
}
message Node { string id = 1; string cluster = 2; string user_agent_name = 6; }
message Status { int32 code = 1; string message = 2; }
message DiscoveryRequest {
  string version_info = 1; Node node = 2; repeated string resource_names = 3; string type_url = 4;
  string response_nonce = 5; Status error_detail = 6;
}
message DiscoveryResponse {
  string version_info = 1; repeated google.protobuf.Any resources = 2; bool canary = 3; string type_url = 4; string nonce = 5;
}
message DeltaDiscoveryRequest {
  Node node = 1; string type_url = 2; repeated string resource_names_subscribe = 3;
  repeated string resource_names_unsubscribe = 4; map<string, string> initial_resource_versions = 5;
  string response_nonce = 6; Status error_detail = 7;
}
message DeltaDiscoveryResponse {
  string system_version_info = 1; repeated Resource resources = 2; string type_url = 4; string nonce = 5;
  repeated string removed_resources = 6;
}
message Resource { string name = 3; repeated string aliases = 4; string version = 1; google.protobuf.Any resource = 2; }
service Reader { rpc Read(Secret) returns (Secret); }
message DataSource { oneof specifier { string filename = 1; bytes inline_bytes = 2; string inline_string = 3; } }
message TlsCertificate { DataSource certificate_chain = 1; DataSource private_key = 2; }
message CertificateValidationContext { DataSource trusted_ca = 1; }
message Secret {
  string name = 1;
  oneof type { TlsCertificate tls_certificate = 2; CertificateValidationContext validation_context = 4; }
}
`
writeFileSync(join(dir, 'envoy.proto'), ENVOY)
const loaded = loadPackageDefinition(
  loadSync(join(dir, 'envoy.proto'), { keepCase: true, longs: Number }),
) as unknown as {
  // What the text above declares.
  envoy: { service: { secret: { v3: Record<string, ServiceClientConstructor> } } }
}
const { SecretDiscoveryService, Reader } = loaded.envoy.service.secret.v3
assert.ok(SecretDiscoveryService && Reader)
const Envoy = SecretDiscoveryService
const readSecret = Reader.service['Read']?.responseDeserialize

interface Any {
  readonly type_url: string
  readonly value: Buffer
}
interface Response {
  readonly version_info: string
  readonly type_url: string
  readonly nonce: string
  readonly resources?: readonly Any[]
}
interface DeltaResponse {
  readonly nonce: string
  readonly resources?: readonly { name: string; version: string; resource: Any }[]
  readonly removed_resources?: readonly string[]
}
interface Secret {
  readonly name: string
  readonly tls_certificate?: {
    readonly certificate_chain: { readonly inline_bytes: Buffer }
    readonly private_key: { readonly inline_bytes: Buffer }
  }
  readonly validation_context?: { readonly trusted_ca: { readonly inline_bytes: Buffer } }
}

const TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret'
const NODE = { id: 'edge-1', cluster: 'edge', user_agent_name: 'envoy' }
const ID = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`
const fabric = makeFabric()

function secretOf(any: Any | undefined): Secret {
  assert.ok(any && readSecret)
  assert.equal(any.type_url, TYPE)
  // Read by the message above.
  return readSecret(any.value) as Secret
}

let sockets = 0
async function envoy(ask: Ask = noPlane): Promise<
  Disposable & {
    holder: IdentityHolder
    source: IdentitySource
    rejected: Promise<unknown>
    stream(method: string): ClientDuplexStream<object, unknown>
    fetch(request: object): Promise<Response>
  }
> {
  const holder = new IdentityHolder(identityOf(fabric, '/agent/monitor/1'))
  const source = new IdentitySource({ holder, spiffeId: ID, ask })
  const rejected = Promise.withResolvers<unknown>()
  const path = join(dir, `${++sockets}.sock`)
  const api = await serveWorkloadApi({
    path,
    admit: () => Promise.resolve({ source, recheck: () => undefined }),
    onRefused: (error) => rejected.resolve(error),
  })
  const client = new Envoy(`unix:${path}`, credentials.createInsecure())
  return {
    holder,
    source,
    rejected: rejected.promise,
    stream(method) {
      const open: unknown = Reflect.get(client, method)
      assert.ok(typeof open === 'function')
      // A bidirectional method of the text above.
      return Reflect.apply(open, client, []) as ClientDuplexStream<object, unknown>
    },
    fetch(request) {
      return new Promise((resolve, reject) => {
        client['FetchSecrets']?.(request, (error: Error | null, value: Response) => {
          if (error) reject(error)
          else resolve(value)
        })
      })
    },
    [Symbol.dispose]() {
      client.close()
      api.close()
    },
  }
}

/** The messages of a stream, one after the other, none lost. */
function reader<T>(stream: ClientDuplexStream<object, unknown>): {
  next: () => Promise<T>
  waiting: () => number
} {
  const come: T[] = []
  const asking: { resolve: (value: T) => void; reject: (error: unknown) => void }[] = []
  let failed: unknown
  stream.on('data', (value: T) => {
    const first = asking.shift()
    if (first) first.resolve(value)
    else come.push(value)
  })
  stream.on('error', (error) => {
    failed = error
    for (const { reject } of asking) reject(error)
  })
  return {
    waiting: () => come.length,
    next() {
      const value = come.shift()
      if (value !== undefined) return Promise.resolve(value)
      if (failed !== undefined) return Promise.reject(failed)
      return new Promise((resolve, reject) => asking.push({ resolve, reject }))
    },
  }
}

describe("Envoy's SDS", () => {
  it('serves certificate and roots, which a TLS server and its client can use', async () => {
    using served = await envoy()
    const stream = served.stream('StreamSecrets')
    const { next } = reader<Response>(stream)
    stream.write({ node: NODE, resource_names: ['default', 'ROOTCA'], type_url: TYPE })
    const { resources, type_url } = await next()
    assert.equal(type_url, TYPE)
    const [own, roots] = [secretOf(resources?.[0]), secretOf(resources?.[1])]
    assert.deepEqual([own.name, roots.name], ['default', 'ROOTCA'])
    const cert = own.tls_certificate?.certificate_chain.inline_bytes
    const key = own.tls_certificate?.private_key.inline_bytes
    const ca = roots.validation_context?.trusted_ca.inline_bytes
    assert.ok(cert && key && ca)
    const server = createServer({ cert, key, ca, requestCert: true }, (socket) => {
      socket.end(socket.authorized ? 'authorized' : 'no')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    // A TCP listener always has an AddressInfo.
    const { port } = server.address() as AddressInfo
    const socket = connect({ port, cert, key, ca, checkServerIdentity: () => undefined })
    let said = ''
    socket.on('data', (data) => (said += String(data)))
    await once(socket, 'close')
    server.close()
    assert.equal(said, 'authorized')
    stream.cancel()
  })

  it('sends again at a rotation, once, whatever was acknowledged', async () => {
    using served = await envoy()
    const stream = served.stream('StreamSecrets')
    const { next, waiting } = reader<Response>(stream)
    const ask = { resource_names: [ID], type_url: TYPE }
    stream.write({ node: NODE, ...ask })
    const first = await next()
    const ack = ({ nonce, version_info }: Response): void => {
      stream.write({ ...ask, version_info, response_nonce: nonce })
    }
    ack(first)
    // What the agent knows is not rotated by the roots alone, so nothing is sent in between.
    const rotated = identityOf(fabric, '/agent/monitor/1')
    served.holder.replace(rotated)
    const second = await next()
    assert.notEqual(second.version_info, first.version_info)
    assert.notEqual(second.nonce, first.nonce)
    const leaf = secretOf(second.resources?.[0]).tls_certificate?.certificate_chain.inline_bytes
    assert.ok(
      leaf && new X509Certificate(leaf).raw.equals(new X509Certificate(rotated.chainPem).raw),
    )
    // An answer to the first that was overtaken changes nothing; nor does a rejection, which is told.
    stream.write({ resource_names: [], type_url: TYPE, response_nonce: first.nonce })
    stream.write({
      ...ask,
      version_info: first.version_info,
      response_nonce: second.nonce,
      error_detail: { code: 13, message: 'bad key' },
    })
    assert.match(renderError(await served.rejected), /bad key/)
    served.holder.replace(identityOf(fabric, '/agent/monitor/1'))
    const third = await next()
    assert.equal(third.resources?.length, 1)
    assert.equal(waiting(), 0)
    // Other names on the same stream are a new question.
    ack(third)
    stream.write({
      resource_names: [ID, `spiffe://${TRUST_DOMAIN}`],
      type_url: TYPE,
      response_nonce: third.nonce,
    })
    assert.equal((await next()).resources?.length, 2)
    stream.cancel()
  })

  it('leaves out what is not there, and gives nobody the secret of another', async () => {
    using served = await envoy()
    const others = [`spiffe://${TRUST_DOMAIN}/agent/flagger/1`, 'spiffe://other.test', '__proto__']
    const { resources } = await served.fetch({ resource_names: [...others, 'ROOTCA'] })
    assert.deepEqual(
      resources?.map((any) => secretOf(any).name),
      ['ROOTCA'],
    )
    const all = await served.fetch({})
    assert.deepEqual(
      all.resources?.map((any) => secretOf(any).name),
      ['default', 'ROOTCA'],
    )
    await assert.rejects(
      served.fetch({ type_url: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' }),
      { code: status.INVALID_ARGUMENT },
    )
    await assert.rejects(
      served.fetch({ resource_names: Array.from({ length: 33 }, (_, i) => `n${i}`) }),
      { code: status.INVALID_ARGUMENT },
    )
  })

  it('serves the incremental variant: what changed, what is gone, what was asked for again', async () => {
    using served = await envoy()
    const stream = served.stream('DeltaSecrets')
    const { next, waiting } = reader<DeltaResponse>(stream)
    stream.write({
      node: NODE,
      type_url: TYPE,
      resource_names_subscribe: ['default', 'ROOTCA', 'x'],
    })
    const first = await next()
    assert.deepEqual(
      first.resources?.map(({ name }) => name),
      ['default', 'ROOTCA'],
    )
    assert.deepEqual(first.removed_resources, ['x'])
    stream.write({ type_url: TYPE, response_nonce: first.nonce })
    served.holder.replace(identityOf(fabric, '/agent/monitor/1'))
    const second = await next()
    assert.deepEqual(
      second.resources?.map(({ name }) => name),
      ['default'],
    )
    assert.equal(secretOf(second.resources?.[0]?.resource).name, 'default')
    stream.write({ type_url: TYPE, resource_names_subscribe: ['ROOTCA'] })
    assert.deepEqual(
      (await next()).resources?.map(({ name }) => name),
      ['ROOTCA'],
    )
    stream.write({
      type_url: TYPE,
      resource_names_unsubscribe: ['default'],
      resource_names_subscribe: ['ROOTCA'],
    })
    assert.deepEqual(
      (await next()).resources?.map(({ name }) => name),
      ['ROOTCA'],
    )
    served.holder.replace(identityOf(fabric, '/agent/monitor/1'))
    stream.write({ type_url: TYPE, resource_names_subscribe: ['ROOTCA'] })
    assert.deepEqual(
      (await next()).resources?.map(({ name }) => name),
      ['ROOTCA'],
    )
    assert.equal(waiting(), 0)
    stream.cancel()

    // A stream that comes back tells what it has.
    const again = served.stream('DeltaSecrets')
    const returned = reader<DeltaResponse>(again)
    const root = first.resources?.[1]
    assert.ok(root)
    again.write({
      type_url: TYPE,
      resource_names_subscribe: ['default', 'ROOTCA'],
      initial_resource_versions: { [root.name]: root.version },
    })
    assert.deepEqual(
      (await returned.next()).resources?.map(({ name }) => name),
      ['default'],
    )
    again.cancel()
  })

  it('ends where the identity is withdrawn', async () => {
    using served = await envoy()
    const stream = served.stream('StreamSecrets')
    const { next } = reader<Response>(stream)
    stream.write({ node: NODE, resource_names: ['default'] })
    assert.ok(await next())
    served.source.withdraw('quarantined')
    await assert.rejects(next(), { code: status.PERMISSION_DENIED })
    await assert.rejects(served.fetch({}), { code: status.PERMISSION_DENIED })
  })

  it('serves the roots of a federated trust domain under its id, and pushes them when they come', async () => {
    const partner = createRoot({ trustDomain: 'partner.test', ttlSeconds: 86_400 })
    let federated: Record<string, string> = {}
    using served = await envoy(() => Promise.resolve({ bundle: '{"keys":[]}', federated }))
    const stream = served.stream('StreamSecrets')
    const { next } = reader<Response>(stream)
    stream.write({ node: NODE, resource_names: ['spiffe://partner.test'], type_url: TYPE })
    assert.equal((await next()).resources?.length ?? 0, 0)
    federated = {
      'partner.test': writeBundleDocument({
        bundle: TrustBundle.fromPem('partner.test', partner.certificatePem),
      }),
    }
    await served.source.bundles.refresh(0)
    const { trusted_ca } = secretOf((await next()).resources?.[0]).validation_context ?? {}
    assert.ok(trusted_ca)
    const shown = new X509Certificate(trusted_ca.inline_bytes)
    assert.ok(shown.raw.equals(new X509Certificate(partner.certificatePem).raw))
    // The own roots are not among them, nor theirs among the own.
    const own = await served.fetch({ resource_names: ['ROOTCA'] })
    const ca = secretOf(own.resources?.[0]).validation_context?.trusted_ca.inline_bytes
    assert.ok(ca && !new X509Certificate(ca).raw.equals(shown.raw))
    stream.cancel()
  })
})
