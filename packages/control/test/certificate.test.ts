/** Which certificates the console is served behind. Each bad one stands beside a good one that differs in nothing else. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, test } from 'node:test'
import { SallyportError } from '@sallyport/base'
import { forge } from '../../spiffe/test/forge.ts'
import { inspectCertificate } from '../src/site/certificate.ts'
import { Files, HOST, WebCa } from './support/tls.ts'

const HOUR = 3_600_000
const ca = new WebCa()
let files: Files
beforeEach(() => {
  files = new Files()
})
afterEach(() => files.remove())

const inspect = (host = HOST) => inspectCertificate(files, host, Date.now())

async function refused(code: string, text: RegExp, host = HOST): Promise<void> {
  const error: unknown = await inspect(host).then(
    () => assert.fail(`it was taken: expected ${code}`),
    (failure: unknown) => failure,
  )
  assert.ok(error instanceof SallyportError, String(error))
  assert.equal(error.code, code, error.detail)
  assert.match(`${error.message}: ${error.detail ?? ''}`, text)
  assert.ok(error.fix, 'it says what to do')
}

test('a good certificate is taken, with its chain, and says what it covers', async () => {
  const leaf = ca.leaf({ dns: [HOST, 'spare.bank.example'] })
  for (const chain of [[], [ca.issuer], [ca.issuer, ca.root]]) {
    files.put(leaf, ...chain)
    const facts = await inspect()
    assert.deepEqual(facts.names, [HOST, 'spare.bank.example'])
    assert.ok(facts.notBefore < Date.now() && facts.notAfter > Date.now())
    assert.match(facts.fingerprint, /^(?:[0-9A-F]{2}:){31}[0-9A-F]{2}$/)
  }
  files.put(ca.leaf({ dns: ['*.bank.example'] }), ca.issuer)
  assert.deepEqual((await inspect()).names, ['*.bank.example'])
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  files.put(ca.leaf({ keys: rsa }), ca.issuer)
  await inspect()
})

test('wrong name: other hosts, the common name alone and half wildcards cover nothing', async () => {
  for (const dns of [
    ['other.bank.example'],
    ['bank.example'],
    ['*.example'],
    ['con*.bank.example'],
    [`x.${HOST}`],
    [`*.${HOST}`],
    [],
  ]) {
    files.put(ca.leaf({ dns }), ca.issuer)
    await refused('SP_CONSOLE_CERT_NAME', /console\.bank\.example/)
  }
  files.put(ca.leaf({ dns: ['localhost'] }), ca.issuer)
  await refused('SP_CONSOLE_CERT_NAME', /DNS:localhost/)
  await inspect('localhost')
})

test('expired and not yet valid', async () => {
  const now = Date.now()
  files.put(ca.leaf({ notBefore: now - 2 * HOUR, notAfter: now - 5000 }), ca.issuer)
  await refused('SP_CONSOLE_CERT_EXPIRED', /has expired: valid from/)
  files.put(ca.leaf({ notBefore: now + HOUR, notAfter: now + 2 * HOUR }), ca.issuer)
  await refused('SP_CONSOLE_CERT_EXPIRED', /is not valid yet/)
  files.put(ca.leaf({ notBefore: now - HOUR, notAfter: now + HOUR }), ca.issuer)
  await inspect()
})

test('a key of another certificate, or of another place in the chain', async () => {
  const leaf = ca.leaf()
  files.putRaw(leaf.pem, ca.leaf().keyPem)
  await refused('SP_CONSOLE_KEY_MISMATCH', /does not belong/)
  files.putRaw(ca.issuer.pem + leaf.pem, leaf.keyPem)
  await refused('SP_CONSOLE_KEY_MISMATCH', /certificate 2 of the file/)
  files.putRaw(leaf.pem + ca.issuer.pem, leaf.keyPem)
  await inspect()
})

test('a chain that does not hold: gaps, order, forged, expired or no CA above', async () => {
  const leaf = ca.leaf()
  const namesake = forge({ name: 'Bank Web CA', ca: true, uris: [] })
  for (const chain of [
    [ca.root],
    [ca.root, ca.issuer],
    [ca.issuer, ca.issuer],
    [leaf],
    [namesake],
    [new WebCa().issuer],
  ]) {
    files.put(leaf, ...chain)
    await refused('SP_CONSOLE_CERT_CHAIN', /did not certify/)
  }
  const past = { notBefore: Date.now() - 2 * HOUR, notAfter: Date.now() - HOUR }
  const old = forge({ name: 'Old CA', ca: true, uris: [], signer: ca.root, ...past })
  files.put(ca.leaf({ signer: old }), old)
  await refused('SP_CONSOLE_CERT_CHAIN', /not valid now/)
  files.put(leaf, ca.issuer)
  await inspect()
})

test('no server certificate of a kind that browsers take', async () => {
  const rows = [
    [ca.leaf({ extended: ['1.3.6.1.5.5.7.3.2'] }), /server authentication/],
    [ca.leaf({ ca: true, usage: [0, 5] }), /that of a CA/],
    [ca.leaf({ keys: generateKeyPairSync('ed25519') }), /do not take its key \(ed25519\)/],
    [ca.leaf({ keys: generateKeyPairSync('ec', { namedCurve: 'P-521' }) }), /secp521r1/],
    [ca.leaf({ keys: generateKeyPairSync('rsa', { modulusLength: 1024 }) }), /rsa 1024/],
  ] as const
  for (const [leaf, text] of rows) {
    files.put(leaf, ca.issuer)
    await refused('SP_CONSOLE_CERT_INVALID', text)
  }
  files.put(ca.leaf({ extended: null }), ca.issuer)
  await inspect()
})

test('files that are missing, empty, huge, no PEM, or no files', async () => {
  const leaf = ca.leaf()
  for (const [cert, key] of [
    ['', leaf.keyPem],
    ['hello', leaf.keyPem],
    [leaf.pem, ''],
    [leaf.pem, leaf.pem],
    [leaf.pem.replace(/\n[A-Za-z0-9+/=]{8}/, '\nAAAAAAAA'), leaf.keyPem],
    [leaf.pem + 'x'.repeat(300_000), leaf.keyPem],
    [leaf.pem + ca.issuer.pem.repeat(10), leaf.keyPem],
  ] as const) {
    files.putRaw(cert, key)
    await refused('SP_CONSOLE_CERT_INVALID', /cannot be used/)
  }
  const locked = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
  })
  files.putRaw(leaf.pem, locked.privateKey)
  await refused('SP_CONSOLE_CERT_INVALID', /passphrase/)
  files.put(leaf)
  await inspect()
  for (const certFile of [files.dir, '/dev/zero', `${files.dir}/none.pem`]) {
    await assert.rejects(inspectCertificate({ ...files.paths, certFile }, HOST, Date.now()), {
      code: 'SP_CONSOLE_CERT_INVALID',
    })
  }
})

test('a pipe in place of a file does not hang the start', async (context) => {
  files.put(ca.leaf())
  const certFile = `${files.dir}/pipe`
  if (spawnSync('mkfifo', [certFile]).status !== 0) {
    context.skip('mkfifo is not on this machine')
    return
  }
  await assert.rejects(inspectCertificate({ ...files.paths, certFile }, HOST, Date.now()), {
    code: 'SP_CONSOLE_CERT_INVALID',
  })
})

test('a key that everybody can open is refused; one for the group is not', async () => {
  files.put(ca.leaf())
  for (const mode of [0o644, 0o604, 0o602]) {
    chmodSync(files.keyFile, mode)
    await refused('SP_CONSOLE_KEY_EXPOSED', /everybody on this machine.*mode 6/)
  }
  for (const mode of [0o600, 0o640, 0o400]) {
    chmodSync(files.keyFile, mode)
    await inspect()
  }
  chmodSync(files.keyFile, 0o600)
  // What stands around the blocks does not matter, as `openssl x509 -text` writes it.
  writeFileSync(files.certFile, `Certificate:\n  Data:\n${ca.leaf().pem}`)
  await refused('SP_CONSOLE_KEY_MISMATCH', /does not belong/)
})
