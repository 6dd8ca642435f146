import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { forge, forgeRoot } from '../../spiffe/test/forge.ts'

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
