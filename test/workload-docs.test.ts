import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { serveWorkloadApi } from '@sallyport/agent'
import { parseNetwork, readYaml } from '@sallyport/network'
import { IdentityHolder } from '@sallyport/transport'
import { identityOf, makeFabric, noPlane, TRUST_DOMAIN } from '../packages/agent/test/plane.ts'
import { IdentitySource } from '../packages/agent/src/workload/source.ts'
import { API, MINIMAL } from '../packages/network/test/minimal.ts'

const read = (name: string): string =>
  readFileSync(new URL(`../docs/identity/${name}`, import.meta.url), 'utf8')

/** Every member of a name, wherever it stands. */
function all(value: unknown, name: string): unknown[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, member]) => [
    ...(key === name ? [member] : []),
    ...all(member, name),
  ])
}

const nameOf = (value: unknown): string => {
  const [name] = all(value, 'name')
  assert.ok(typeof name === 'string')
  return name
}

/** Length-delimited fields of a protobuf message, by number. */
function fields(message: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++] ?? 0
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }
  while (at < message.length) {
    const tag = varint()
    assert.equal(tag & 7, 2)
    const length = varint()
    found.set(tag >> 3, message.subarray(at, at + length))
    at += length
  }
  return found
}

/** The fields of the one secret that FetchSecrets gives for a name, as Envoy would read them. */
async function secret(path: string, name: string): Promise<Map<number, Buffer>> {
  const body = Buffer.concat([Buffer.from([0x1a, name.length]), Buffer.from(name)])
  const session = connectHttp2('http://localhost', { createConnection: () => connect(path) })
  const stream = session.request({
    ':method': 'POST',
    ':path': '/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, body.length]), body]))
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk))
  session.destroy()
  const resource = fields(Buffer.concat(chunks).subarray(5)).get(2)
  assert.ok(resource, `${name} is not served`)
  const any = fields(resource)
  assert.match(String(any.get(1)), /transport_sockets\.tls\.v3\.Secret$/)
  return fields(any.get(2) ?? Buffer.alloc(0))
}

test('envoy.yaml names what the socket serves, each as what it is', async () => {
  const { located, problems } = readYaml(read('envoy.yaml'), 'envoy.yaml')
  assert.deepEqual(problems, [])
  const config: unknown = located?.value
  const [clusters] = all(config, 'clusters')
  assert.ok(Array.isArray(clusters))
  const sds = clusters.find((cluster) => nameOf(cluster) === 'sallyport')
  assert.equal(all(sds, 'pipe').length, 1)
  assert.equal(all(sds, 'http2_protocol_options').length, 1)
  for (const asked of all(config, 'cluster_name').slice(0)) {
    assert.ok(clusters.some((cluster) => nameOf(cluster) === asked))
  }
  for (const sdsConfig of all(config, 'sds_config')) {
    assert.deepEqual(all(sdsConfig, 'api_type'), ['GRPC'])
    assert.deepEqual(all(sdsConfig, 'transport_api_version'), ['V3'])
  }
  // Roots without names would admit everybody.
  assert.equal(all(config, 'match_typed_subject_alt_names').length, 1)
  const certificates = all(config, 'tls_certificate_sds_secret_configs').flat().map(nameOf)
  const contexts = all(config, 'validation_context_sds_secret_config').map(nameOf)
  assert.deepEqual([certificates.length, contexts.length], [1, 1])

  const dir = mkdtempSync(join(tmpdir(), 'sp-docs-'))
  const holder = new IdentityHolder(identityOf(makeFabric(), '/agent/monitor/1'))
  const spiffeId = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`
  const source = new IdentitySource({ holder, spiffeId, ask: noPlane })
  const path = join(dir, 's')
  const api = await serveWorkloadApi({
    path,
    admit: () => Promise.resolve({ source, recheck: () => undefined }),
  })
  try {
    // Fields of Secret: 2 is a certificate, 4 a validation context.
    for (const name of certificates)
      assert.deepEqual([...(await secret(path, name)).keys()], [1, 2])
    for (const name of contexts) assert.deepEqual([...(await secret(path, name)).keys()], [1, 4])
    await assert.rejects(secret(path, 'nothing'), /not served/)
  } finally {
    api.close()
    rmSync(dir, { recursive: true, force: true })
  }
})

test('what the page declares is a declaration', () => {
  const [agents = '', attestors = '', attest = ''] = [
    ...read('workload-api.md').matchAll(/```yaml\n([^`]*)```/g),
  ].map(([, block = '']) => block)
  const indented = attest.replaceAll(/^/gm, '    ').trimEnd()
  const text = MINIMAL.replace('segments:\n', 'segments:\n  analytics: { owner: us }\n')
    .replace('agents:\n', `${agents}  writer:\n    owner: us\n    segment: inner\n${indented}\n`)
    .concat(attestors)
  const { network, problems } = parseNetwork(text, {
    file: 'network.yaml',
    readFile: (name) =>
      name === 'bank.yaml'
        ? API
        : name.endsWith('.pem')
          ? '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
          : '{"keys":[]}',
  })
  assert.deepEqual(problems, [])
  const proofs = network?.agents.map((agent) => Object.keys(agent.attest ?? {}))
  assert.deepEqual(proofs, [['unix'], ['x509pop', 'kubernetes'], []])
})
