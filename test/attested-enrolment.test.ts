import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { attesting, enrol, serveWorkloadApi } from '@sallyport/agent'
import type { EnrolOptions } from '@sallyport/agent'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { IdentityHolder } from '@sallyport/transport'
import { IdentitySource } from '../packages/agent/src/workload/source.ts'
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

/** The command beside its control plane, which runs in this process and must not be blocked. */
function enroll(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const bin = join(import.meta.dirname, '../packages/cli/bin/sallyport.ts')
  return new Promise((resolve) => {
    const words = [bin, 'agent', 'enroll', ...args, '--json']
    const child = execFile(process.execPath, words, (_error, out, err) => {
      resolve({ code: child.exitCode ?? -1, out, err })
    })
  })
}

test('`agent enroll --attest` enrols by a machine’s key or the Workload API, and keeps nothing of another agent', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sp-enroll-'))
  const put = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const { pem, keyPem } = machine()
  const { host, port } = control.planeAddress
  const roots = ['--roots', join(dataDir, 'trust', 'ca.pem'), '--control', `${host}:${port}`]
  const pop = [
    ...['--attest', 'x509pop', '--cert', put('host.pem', pem), '--key', put('host.key', keyPem)],
    ...roots,
  ]
  try {
    const good = await enroll('flagger', ...pop, '--out', join(folder, 'good'))
    assert.equal(good.code, 0, good.err)
    const done = JSON.parse(good.out) as Readonly<Record<string, string | number>>
    assert.match(String(done['spiffeId']), /^spiffe:\/\/bank\.test\/agent\/flagger\/[a-z0-9]+$/)
    assert.equal(statSync(String(done['key'])).mode & 0o777, 0o600)
    assert.equal(statSync(join(folder, 'good')).mode & 0o777, 0o700)
    const [chainPem, key, rootsPem] = ['svid.pem', 'svid_key.pem', 'bundle.pem'].map((name) =>
      readFileSync(join(folder, 'good', name), 'utf8'),
    )
    assert.ok(chainPem && key && rootsPem)
    const fresh = new X509Certificate(chainPem)
    assert.ok(fresh.checkPrivateKey(createPrivateKey(key)))
    assert.notEqual(key, keyPem, 'a key of its own')

    const other = await enroll('analyst', ...pop, '--out', join(folder, 'other'))
    assert.notEqual(other.code, 0)
    assert.match(other.err, /not `analyst`.*SP_ATTESTATION_REFUSED/s)
    assert.equal(existsSync(join(folder, 'other')), false)
    const token = ['--attest', 'k8s', '--token-file', put('token', 'e30.e30.AA'), ...roots]
    const made = await enroll('flagger', ...token, '--out', join(folder, 'k8s'))
    assert.match(made.err, /SP_ATTESTATION_REFUSED/)
    assert.equal((await enroll('flagger', '--attest', 'magic', ...pop.slice(2))).code, 2)
    assert.equal((await enroll('flagger', ...pop)).code, 2, 'no --out')

    // What a process of this machine is told by the socket that attests it.
    const holder = new IdentityHolder({
      ...{ chainPem, keyPem: key, rootsPem, trustDomain: TRUST_DOMAIN },
      notAfter: fresh.validToDate.getTime(),
    })
    const spiffeId = String(done['spiffeId'])
    const ask = () => Promise.reject(new Error('not asked'))
    const source = new IdentitySource({ holder, spiffeId, ask })
    const path = join(folder, 'w.sock')
    const uid = process.getuid?.() ?? 0
    const admit = attesting(
      () => [{ agent: 'flagger', unix: { uid } }],
      () => Promise.resolve(source),
    )
    const api = await serveWorkloadApi({ path, admit })
    const unix = await enroll('flagger', '--attest', 'unix', '--socket', path, '--out', folder)
    api.close()
    assert.equal(unix.code, 0, unix.err)
    assert.equal(readFileSync(join(folder, 'svid_key.pem'), 'utf8'), key)
    const gone = await enroll('flagger', '--attest', 'unix', '--socket', path, '--out', folder)
    assert.match(gone.err, /SP_WORKLOAD_DENIED/)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
