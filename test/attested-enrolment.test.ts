import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { enrol } from '@sallyport/agent'
import type { EnrolOptions } from '@sallyport/agent'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { forge } from '../packages/spiffe/test/forge.ts'
import type { Forged, Recipe } from '../packages/spiffe/test/forge.ts'
import { declarationWith, TRUST_DOMAIN } from '../packages/control/test/support/declaration.ts'

const HOST = 'monitor-1.bank.example'
const dataDir = mkdtempSync(join(tmpdir(), 'sp-attested-'))
const authority = forge({ name: 'Machines', ca: true, uris: [] })
const machine = (recipe: Recipe = {}): Forged =>
  forge({ name: HOST, uris: [], dns: [HOST], sanCritical: false, signer: authority, ...recipe })
const base = declarationWith().network
const declaration = declarationWith({
  agents: base.agents.map((agent) =>
    agent.name === 'flagger' ? { ...agent, attest: { x509pop: { dnsName: HOST } } } : agent,
  ),
  attestors: { x509pop: { ca: authority.pem } },
})
let control: Control
let terms: Pick<EnrolOptions, 'planeTarget' | 'rootsPem' | 'trustDomain' | 'patienceMs'>

before(async () => {
  await initTrust({ dataDir, declaration, rpId: 'localhost', origin: 'http://localhost:7400' })
  control = await startControl({
    dataDir,
    declaration,
    console: { port: 0 },
    plane: { host: '127.0.0.1', port: 0 },
  })
  terms = {
    planeTarget: control.planeAddress,
    rootsPem: readFileSync(join(dataDir, 'trust', 'ca.pem'), 'utf8'),
    trustDomain: TRUST_DOMAIN,
    patienceMs: 0,
  }
})
after(async () => {
  await control.close()
  rmSync(dataDir, { recursive: true, force: true })
})

test('an agent enrols with the key of its machine, whatever kind of key that is', async () => {
  for (const keys of [
    generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
    generateKeyPairSync('ed25519'),
  ]) {
    const { pem: certificatePem, keyPem } = machine({ keys })
    const identity = await enrol({ ...terms, machine: { certificatePem, keyPem } })
    assert.match(identity.spiffeId, /^spiffe:\/\/bank\.test\/agent\/flagger\/[a-z0-9]+$/)
    await identity.renew()
  }
})

test('a machine of another name, another key and a made-up token enrol nobody', async () => {
  const { pem: certificatePem, keyPem } = machine()
  const other = machine({ dns: ['other.bank.example'] })
  for (const proof of [
    { machine: { certificatePem: other.pem, keyPem: other.keyPem } },
    { machine: { certificatePem, keyPem: other.keyPem } },
    { serviceAccountToken: 'e30.e30.AA' },
  ]) {
    await assert.rejects(enrol({ ...terms, ...proof }), { code: 'SP_ATTESTATION_REFUSED' })
  }
  assert.ok(await enrol({ ...terms, machine: { certificatePem, keyPem } }))
})
