import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { loadDeclaration } from '@sallyport/network'

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')
const CANARY = 'canary-cli-51'
let dir: string
let data: string
let control: Control

const SECTIONS = `
secrets:
  notes/*: { owner: desk, use: a test, local: true }
  closed: { owner: desk, use: a test }
transit:
  names: { owner: desk, use: a test, type: aes256-gcm }
`

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-secret-'))
  data = join(dir, '.sallyport')
  cpSync(join(ROOT, 'packages/cli/templates/starter'), dir, { recursive: true })
  const networkFile = join(dir, 'network.yaml')
  writeFileSync(networkFile, readFileSync(networkFile, 'utf8') + SECTIONS)
  const declaration = await loadDeclaration({ networkFile })
  const origin = 'http://localhost:7400'
  await initTrust({ dataDir: data, declaration, rpId: 'localhost', origin })
  control = await startControl({
    dataDir: data,
    declaration,
    console: { port: 0 },
    plane: { host: '127.0.0.1', port: 0 },
  })
})
after(async () => {
  await control?.close()
  rmSync(dir, { recursive: true, force: true })
})

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

async function sallyport(args: readonly string[], input: string | Buffer = ''): Promise<Result> {
  const child = spawn(process.execPath, [BIN, 'secret', ...args, '--data', data])
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('latin1')))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, stdout, stderr }
}

async function json(args: readonly string[], input?: string | Buffer): Promise<unknown> {
  const { status, stdout, stderr } = await sallyport([...args, '--json'], input)
  assert.equal(status, 0, stderr)
  return JSON.parse(stdout)
}

test('a value goes in by standard input or file, and comes out as it was', async () => {
  assert.deepEqual(await json(['put', 'notes/a'], `${CANARY}\n`), { version: 1 })
  const plain = await sallyport(['get', 'notes/a'])
  assert.deepEqual([plain.status, plain.stdout], [0, `${CANARY}\n`])
  const file = join(dir, 'value')
  writeFileSync(file, Buffer.from([0, 255, 10]))
  assert.deepEqual(await json(['put', 'notes/a', '--file', file, '--cas', '1']), { version: 2 })
  assert.equal((await sallyport(['get', 'notes/a'])).stdout, '\u0000\u00ff\n')
  assert.match(JSON.stringify(await json(['get', 'notes/a', '--at', '1'])), /canary/)
  const conflict = await sallyport(['put', 'notes/a', '--cas', '1'], 'late')
  assert.equal(conflict.status, 1)
  assert.match(conflict.stderr, /SP_SECRET_CONFLICT/)
  const raw = await sallyport(['put', 'notes/b', '--raw'], 'x\n')
  assert.equal(raw.stdout, 'version 1\n')
  assert.equal((await sallyport(['get', 'notes/b'])).stdout, 'x\n\n')
})

test('a value on the command line is no value', async () => {
  const { status, stdout } = await sallyport(['put', 'notes/a', CANARY])
  assert.equal(status, 2)
  assert.equal(stdout, '')
})

test('what is not declared for the machine’s administrator is refused, with the exit code of a denial', async () => {
  assert.deepEqual(await json(['put', 'closed'], CANARY), { version: 1 })
  const { status, stdout, stderr } = await sallyport(['get', 'closed', '--json'])
  assert.equal(status, 5)
  assert.match(stdout, /SP_SECRET_REFUSED/)
  assert.ok(!`${stdout}${stderr}`.includes(CANARY))
  assert.equal((await sallyport(['put', 'nowhere'], 'x')).status, 1)
})

test('versions, leases, keys and the register are shown without a value', async () => {
  await json(['destroy', 'notes/a', '1'])
  const versions = await json(['versions', 'notes/a'])
  assert.match(JSON.stringify(versions), /"version":1,[^}]*"state":"destroyed"/)
  assert.deepEqual(await json(['lease', 'list']), [])
  assert.match((await sallyport(['lease', 'authority'])).stdout, /^-----BEGIN CERTIFICATE-----\n/)
  assert.deepEqual(await json(['transit', 'rotate', 'names']), { version: 1 })
  assert.match((await sallyport(['transit', 'list'])).stdout, /names +aes256-gcm +1 +1 +desk/)
  assert.deepEqual(await json(['rotations']), [])
  const table = await sallyport(['register'])
  assert.match(table.stdout, /certificate +root of the trust domain +good/)
  const lines = (await sallyport(['register', '--csv'])).stdout.split('\r\n')
  assert.equal(
    lines[0],
    'kind,name,owner,use,algorithm,createdAt,ageDays,expiresAt,rotateBy,state,heldBy,exportable',
  )
  assert.ok(lines.some((line) => line.startsWith('secret,notes/a,desk,a test,')))
  const all = [await json(['register']), await json(['list']), lines, table.stdout]
  assert.ok(!JSON.stringify(all).includes(CANARY))
})
