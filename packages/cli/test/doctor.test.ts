import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttps } from 'node:https'
import { createServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { forge, forgeRoot } from '../../spiffe/test/forge.ts'
import { handshake } from '../src/handshake.ts'

const BIN = fileURLToPath(new URL('../bin/sallyport.ts', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'sp-doctor-'))
after(() => {
  rmSync(dir, { recursive: true, force: true })
})

const root = forgeRoot()
const server = forge({ signer: root, uris: ['spiffe://bank.test/control/c1'] })
const file = (name: string, text: string): string => {
  const path = join(dir, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

/** In this process runs the server that it connects to, so it must not be waited for by blocking. */
function doctor(...args: readonly string[]): Promise<{ code: number; stdout: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [BIN, 'doctor', ...args], (_error, stdout) => {
      resolve({ code: child.exitCode ?? -1, stdout })
    })
  })
}

test('doctor --connect says in one line what is wrong with a connection, and nothing else', async () => {
  const { pem: cert, keyPem: key } = server
  const listening = createServer(
    { cert, key, minVersion: 'TLSv1.3', ALPNProtocols: ['http/1.1'] },
    (socket) => socket.on('error', () => undefined).end(),
  ).listen(0, '127.0.0.1')
  await once(listening, 'listening')
  // A TCP listener always has an AddressInfo.
  const address = `127.0.0.1:${(listening.address() as AddressInfo).port}`
  try {
    const known = file('ca.pem', root.pem)
    const good = await doctor('--connect', address, '--roots', known, '--json')
    assert.equal(good.code, 0)
    const rows: unknown = JSON.parse(good.stdout)
    assert.ok(Array.isArray(rows) && rows.length === 1)
    assert.equal(rows[0].state, 'ok')
    const other = file('other.pem', forgeRoot().pem)
    const bad = await doctor('--connect', address, '--roots', other, '--json')
    assert.equal(bad.code, 1)
    assert.match(bad.stdout, /no root that is known here.*SP_SVID_UNTRUSTED/)
    assert.equal((await doctor('--connect', 'nonsense', '--roots', known)).code, 2)
    assert.equal((await doctor('--connect', address, '--roots', join(dir, 'absent'))).code, 2)
    assert.equal((await doctor('--connect', address, '--roots', known, '--cert', known)).code, 2)
  } finally {
    listening.close()
  }
})

test('each of ten broken handshakes has one true line that says what to do', async () => {
  const now = Date.now()
  const [hour, network] = [3_600_000, file('network.pem', root.pem)]
  const serve = async (made: ReturnType<typeof forge>, answer = '{"quarantined":false}') => {
    const { pem: cert, keyPem: key } = made
    const listening = createHttps(
      { cert, key, ca: root.pem, requestCert: true, rejectUnauthorized: false },
      (_request, response) => response.end(answer),
    )
    listening.listen(0, '127.0.0.1')
    await once(listening, 'listening')
    // A TCP listener always has an AddressInfo.
    return { listening, at: `127.0.0.1:${(listening.address() as AddressInfo).port}` }
  }
  const own = (name: string, recipe: Parameters<typeof forge>[0] = {}) => {
    const { pem, keyPem } = forge({ signer: root, ...recipe })
    return ['--cert', file(`${name}.pem`, pem), '--key', file(`${name}.key`, keyPem)]
  }
  const past = { notBefore: now - 2 * hour, notAfter: now - hour }
  const ahead = { notBefore: now + hour, notAfter: now + 2 * hour }
  const good = await serve(server)
  const cut = await serve(server, '{"code":"SP_SVID_REVOKED"}')
  const unnamed = await serve(forge({ signer: root, uris: [], dns: ['localhost'] }))
  const elsewhere = await serve(forge({ signer: root, uris: ['spiffe://evil.test/control/c1'] }))
  const stopped = await serve(server)
  stopped.listening.close()
  await once(stopped.listening, 'close')
  const other = file('another.pem', forgeRoot().pem)
  const cases: readonly [string, readonly string[], RegExp][] = [
    ['expired', [good.at, ...own('old', past)], /has expired .*renew it.*SP_SVID_EXPIRED/],
    [
      'wrong trust domain',
      [elsewhere.at],
      /another trust domain than `bank\.test`.*of one network.*SP_SVID_FOREIGN/,
    ],
    ['clock off', [good.at, ...own('early', ahead)], /clock is behind.*SP_SVID_NOT_YET_VALID/],
    ['revoked', [cut.at, ...own('cut')], /revoked: enrol anew.*SP_SVID_REVOKED/],
    ['wrong root', [good.at, '--roots', other], /no root that is known here.*compare/],
    [
      'key mismatch',
      [good.at, ...own('one').slice(0, 2), ...own('two').slice(2)],
      /not the one of our certificate.*SP_IDENTITY_MISMATCH/,
    ],
    ['plane unreachable', [stopped.at], /nothing listens there: is it started.*SP_CONNECT_FAILED/],
    ['socket missing', [`unix:${join(dir, 'none.sock')}`], /there is no socket .*is .* started/],
    ['wrong SAN', [unnamed.at], /certificate of the server is no SVID.*enroll.*SP_SVID_PROFILE/],
  ]
  try {
    const fine = await doctor('--connect', good.at, '--roots', network, ...own('fine'), '--json')
    assert.equal(fine.code, 0, fine.stdout)
    for (const [what, args, says] of cases) {
      const roots = args.includes('--roots') ? [] : ['--roots', network]
      const { code, stdout } = await doctor('--connect', ...args, ...roots, '--json')
      assert.equal(code, 1, `${what}: ${stdout}`)
      const rows: unknown = JSON.parse(stdout)
      assert.ok(Array.isArray(rows) && rows.length === 1, what)
      const { text } = rows[0] as { text: string }
      assert.match(text, says, what)
      assert.ok(!text.includes('\n'), what)
    }
  } finally {
    for (const { listening } of [good, cut, unnamed, elsewhere]) listening.close()
  }
})

test('a key that this user may not read is said to be one', async (context) => {
  const { seteuid } = process
  if (process.getuid?.() !== 0 || !seteuid) {
    context.skip('only root can make a file of somebody else, and become nobody')
    return
  }
  // Loaded before, while everything can be read.
  await import('@sallyport/agent')
  const folder = mkdtempSync(join(tmpdir(), 'sp-doctor-open-'))
  context.after(() => rmSync(folder, { recursive: true, force: true }))
  chmodSync(folder, 0o755)
  const made = forge({ signer: root })
  const put = (name: string, text: string, mode: number): string => {
    const path = join(folder, name)
    writeFileSync(path, text)
    chmodSync(path, mode)
    return path
  }
  const files = { roots: put('ca.pem', root.pem, 0o644), cert: put('svid.pem', made.pem, 0o644) }
  const asNobody = async (key: string): Promise<unknown> => {
    seteuid(65_534)
    try {
      return await handshake('unix:/nowhere/plane.sock', folder, { ...files, key })
    } finally {
      seteuid(0)
    }
  }
  const fine = await asNobody(put('open.key', made.keyPem, 0o644))
  assert.match(JSON.stringify(fine), /there is no socket/)
  await assert.rejects(asNobody(put('svid.key', made.keyPem, 0o600)), {
    code: 'SP_USAGE_OPTION',
    message: /this user may not read .*svid\.key/,
    fix: /run as the user that owns it/,
  })
})
