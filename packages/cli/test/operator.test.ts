import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { Signer } from '../../control/test/support/signer.ts'
import { declarationWith } from '../../control/test/support/declaration.ts'
import { TestPlane } from '../../control/test/support/network.ts'

const BIN = new URL('../bin/sallyport.ts', import.meta.url).pathname
const seen = { userAgent: 'Firefox', address: '192.0.2.7' }
let dataDir: string
let control: Control
let alice: Signer

before(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'sp-cli-'))
  const declaration = declarationWith()
  const origin = 'http://localhost:7400'
  await initTrust({ dataDir, declaration, rpId: 'localhost', origin })
  control = await startControl({
    dataDir,
    declaration,
    console: { port: 0 },
    plane: { host: '127.0.0.1', port: 0 },
  })
  alice = new Signer('alice')
  const { operators } = control.context
  const { link } = await operators.createLink({ operator: 'alice', by: 'test' })
  const { credentialId, publicKey } = alice
  await operators.register({ link, credentialId, publicKey })
})
after(async () => {
  await control?.close()
  rmSync(dataDir, { recursive: true, force: true })
})

/** Beside this process, which runs the control plane. */
function sallyport(...args: readonly string[]): Promise<{ status: number; stdout: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args, '--data', dataDir], (error, stdout) => {
      resolve({ status: typeof error?.code === 'number' ? error.code : 0, stdout })
    })
  })
}

test('sessions are listed and ended on the machine of the control plane', async () => {
  const { sessions } = control.context
  const { credentialId } = alice
  const how = { method: 'passkey', operator: 'alice', credentialId } as const
  const { session, view } = await sessions.start(how, seen)
  const shown = await sallyport('operator', 'sessions')
  assert.equal(shown.status, 0)
  assert.match(shown.stdout, new RegExp(`${view.id} +alice +passkey +192\\.0\\.2\\.7`))
  const json = JSON.parse((await sallyport('operator', 'sessions', '--json')).stdout) as {
    id: string
  }[]
  assert.deepEqual(
    json.map(({ id }) => id),
    [view.id],
  )
  assert.ok(!shown.stdout.includes(session))
  assert.equal((await sallyport('operator', 'revoke-session', 'ses_nobody')).status, 1)
  assert.ok(await sessions.find(session, seen))
  const ended = await sallyport('operator', 'revoke-session', view.id, '--json')
  assert.deepEqual([ended.status, JSON.parse(ended.stdout)], [0, { id: view.id, ended: true }])
  assert.equal(await sessions.find(session, seen), undefined)
  assert.equal((await sallyport('operator', 'sessions')).stdout, 'nobody is signed in\n')
})

test('alarms and break-glass are listed', async () => {
  const { sessions } = control.context
  const { credentialId } = alice
  const how = { method: 'passkey', operator: 'alice', credentialId } as const
  const { session } = await sessions.start(how, seen)
  await sessions.find(session, { ...seen, userAgent: 'curl' })
  const alarms = await sallyport('operator', 'alarms')
  assert.match(alarms.stdout, /session-reused +alice/)
  const broken = await sallyport('operator', 'break-glass')
  assert.deepEqual([broken.status, broken.stdout], [0, 'nobody broke the glass\n'])
})

test('a job with the SVID of a responder cuts an agent off, and one without is refused', async () => {
  const { services } = declarationWith().network
  const ci = {
    name: 'ci',
    description: 'ci',
    owner: 'core',
    segment: 'aml',
    responder: true,
  } as const
  const plane = await TestPlane.start(declarationWith({ services: [...services, ci] }))
  const dir = mkdtempSync(join(tmpdir(), 'sp-svid-'))
  try {
    const { host, port } = plane.control.planeAddress
    const run = async (service: string, subject: string, ...more: readonly string[]) => {
      const peer = await plane.enrol('service', service)
      const material = peer.holder?.current()
      assert.ok(material)
      writeFileSync(join(dir, 'svid.pem'), material.chainPem)
      writeFileSync(join(dir, 'svid_key.pem'), material.keyPem)
      writeFileSync(join(dir, 'bundle.pem'), material.rootsPem)
      const by = ['--svid', dir, '--control', `${host}:${port}`]
      const asked = ['agent', 'quarantine', subject, '--reason', 'a failing test', ...by, ...more]
      return { ...(await sallyport(...asked)), peer }
    }
    const refused = await run('ledger', 'flagger', '--json')
    assert.equal(refused.status, 5)
    assert.match(refused.stdout, /SP_RESPONDER_UNDECLARED/)
    const agent = 'spiffe://bank.test/agent/flagger'
    const { quarantine } = plane.control.context
    assert.equal(quarantine.isQuarantined(`${agent}/any`), false)
    const done = await run('ci', 'flagger')
    assert.deepEqual([done.status, done.stdout], [0, `quarantined ${agent}\n`])
    assert.equal(quarantine.isQuarantined(`${agent}/any`), true)
    assert.equal((await quarantine.list())[0]?.by, done.peer.spiffeId)
  } finally {
    await plane.close()
    rmSync(dir, { recursive: true, force: true })
  }
})
