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

interface Ended {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

async function ca(...args: readonly string[]): Promise<Ended> {
  const bin = join(ROOT, 'packages/cli/bin/sallyport.ts')
  const where = args.includes('--data') ? [] : ['--data', data]
  const child = spawn(process.execPath, [bin, 'ca', ...args, ...where])
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, out, err }
}

const states = (): readonly string[] =>
  control.context.authority.view().generations.map(({ state }) => state)

test('ca: a successor is prepared, shown and put in use, for people and for programs', async () => {
  assert.deepEqual(states(), ['active'])
  const early = await ca('activate')
  assert.deepEqual([early.status, early.out], [1, ''])
  assert.match(early.err, /SP_CA_NOT_PREPARED/)

  const prepared = await ca('prepare', '--json')
  assert.equal(prepared.status, 0)
  assert.deepEqual(JSON.parse(prepared.out), control.context.authority.view())
  assert.deepEqual(states(), ['active', 'prepared'])

  const again = await ca('prepare', '--json')
  assert.equal(again.status, 1)
  assert.equal(JSON.parse(again.out).error.code, 'SP_CA_PREPARED')
  assert.deepEqual(states(), ['active', 'prepared'])

  const forPeople = await ca('show')
  assert.equal(forPeople.status, 0)
  assert.match(forPeople.out, /^trust root valid until /)
  assert.match(forPeople.out, / active /)
  assert.match(forPeople.out, / prepared /)

  const activated = await ca('activate')
  assert.equal(activated.status, 0)
  assert.match(activated.out, / retired /)
  assert.deepEqual(states(), ['retired', 'active'])
  const { status, out } = await ca('show', '--json')
  assert.equal(status, 0)
  const { roots, ...view } = JSON.parse(out)
  assert.deepEqual(view, control.context.authority.view())
  assert.deepEqual(roots, await control.context.roots.view())
})

async function root(...args: readonly string[]): Promise<Ended & { readonly states: unknown }> {
  const [command = '', ...rest] = args
  const ended = await ca('root', command, ...rest, '--json')
  const { roots = [], error } = JSON.parse(ended.out)
  const states = roots.map(({ state }: { readonly state: string }) => state)
  return { ...ended, states: error?.code ?? states }
}

test('ca root: a new root is prepared and taken back; unsigned it is put in use by nobody', async () => {
  assert.deepEqual((await root('activate')).states, 'SP_CA_ROOT_NOT_TRUSTED')
  assert.deepEqual((await root('cancel')).states, 'SP_CA_ROOT_NOT_PREPARED')
  assert.deepEqual((await root('retire')).states, 'SP_CA_ROOT_UNKNOWN')
  const first = await control.context.roots.view()
  const active = first[0]?.fingerprint ?? ''
  assert.deepEqual((await root('retire', active)).states, 'SP_CA_ROOT_ACTIVE')
  const wrong = await root('retire', 'zzzzzzzz')
  assert.deepEqual([wrong.status, wrong.states], [2, 'SP_USAGE_VALUE'])

  const prepared = await root('prepare')
  assert.deepEqual(prepared.states, ['active', 'prepared'])
  assert.match(prepared.err, /quorum/)
  assert.deepEqual((await root('prepare')).states, 'SP_CA_ROOT_PREPARED')
  assert.deepEqual((await root('activate')).states, 'SP_CA_ROOT_NOT_TRUSTED')
  const shown = await ca('show')
  assert.match(shown.out, / prepared .* /)
  assert.equal(shown.out.includes(active.slice(0, 16)), true)
  assert.deepEqual((await root('cancel')).states, ['active'])
  assert.deepEqual(await control.context.roots.view(), first)
})

test('ca: without a control plane it says so, with the code for settings', async () => {
  const nowhere = join(dir, 'nowhere')
  for (const command of ['prepare', 'activate', 'show']) {
    const { status, out, err } = await ca(command, '--data', nowhere)
    assert.deepEqual([status, out], [3, ''])
    assert.match(err, /SP_CONFIG_NOT_RUNNING/)
  }
})
