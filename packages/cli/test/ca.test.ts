import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { loadDeclaration } from '@sallyport/network'

const ROOT = join(import.meta.dirname, '../../..')
let dir: string
let data: string
let control: Control

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-ca-'))
  data = join(dir, '.sallyport')
  cpSync(join(ROOT, 'packages/cli/templates/starter'), dir, { recursive: true })
  const declaration = await loadDeclaration({ networkFile: join(dir, 'network.yaml') })
  const origin = 'http://localhost:7400'
  await initTrust({ dataDir: data, declaration, rpId: 'localhost', origin })
  control = await startControl({
    ...{ dataDir: data, declaration, console: { port: 0 } },
    plane: { host: '127.0.0.1', port: 0 },
  })
})
after(async () => {
  await control?.close()
  rmSync(dir, { recursive: true, force: true })
})

async function show(...args: readonly string[]): Promise<{ status: number | null; out: string }> {
  const bin = join(ROOT, 'packages/cli/bin/sallyport.ts')
  const child = spawn(process.execPath, [bin, 'ca', 'show', '--data', data, ...args])
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, out }
}

test('ca show: what signs now and its successor, for people and for programs', async () => {
  control.context.authority.prepare()
  const forPeople = await show()
  assert.equal(forPeople.status, 0)
  assert.match(forPeople.out, /^trust root valid until /)
  assert.match(forPeople.out, / active /)
  assert.match(forPeople.out, / prepared /)
  const { status, out } = await show('--json')
  assert.equal(status, 0)
  assert.deepEqual(JSON.parse(out), control.context.authority.view())
})
