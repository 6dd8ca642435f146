import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { claimPorts } from '../../../test/support/ports.ts'

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

test('init --keys sealed, unseal, register and new shares, from the command line', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sp-keys-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const sallyport = (args: readonly string[], input = ''): Result =>
    spawnSync(process.execPath, [BIN, ...args, '--data', '.data'], {
      cwd: dir,
      encoding: 'utf8',
      input,
    })
  const json = (args: readonly string[], input = ''): Record<string, unknown> => {
    const { status, stdout, stderr } = sallyport([...args, '--json'], input)
    assert.equal(status, 0, stderr)
    // The commands' own documented output.
    return JSON.parse(stdout) as Record<string, unknown>
  }
  const port = await claimPorts()
  const made = json([
    'init',
    '--keys',
    'sealed',
    '--shares',
    '3',
    '--threshold',
    '2',
    '--console-port',
    String(port),
  ])
  const shares = made['shares'] as string[]
  assert.equal(shares.length, 3)

  /** Starts the control plane; resolves with its next line, and stops it. */
  const start = () => {
    const args = [
      'control',
      '--data',
      '.data',
      '--plane',
      '127.0.0.1:0',
      '--console-port',
      String(port),
    ]
    const child = spawn(process.execPath, [BIN, ...args], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    return {
      next: async () => JSON.parse((await lines.next()).value ?? 'null') as Record<string, unknown>,
      async stop() {
        if (child.exitCode !== null || child.signalCode !== null) return [child.exitCode]
        const exit = once(child, 'exit')
        child.kill('SIGTERM')
        return exit
      },
    }
  }
  const control = start()
  try {
    const sealed = await control.next()
    assert.deepEqual([sealed['ready'], sealed['state']], ['sealed', 'sealed'])
    const refused = sallyport(['keys', 'list'])
    assert.deepEqual([refused.status, refused.stdout], [1, ''])
    assert.match(refused.stderr, /SP_SEALED/)
    const wrong = sallyport(['unseal'], `${shares[0]?.slice(0, -1)}`)
    assert.equal(wrong.status, 4)
    assert.match(wrong.stderr, /SP_SEAL_SHARE/)
    assert.ok(!wrong.stderr.includes(shares[0]?.slice(0, 13) ?? ''))
    assert.equal(json(['unseal'], shares[2])['state'], 'half-unsealed')
    assert.equal(json(['unseal', '--status'])['state'], 'half-unsealed')
    assert.equal(json(['unseal'], `${shares[0]}\n`)['state'], 'unsealed')
    assert.equal((await control.next())['ready'], 'control')

    const listed = json(['keys', 'list'])
    const names = (listed['keys'] as { name: string }[]).map(({ name }) => name)
    assert.deepEqual(names, ['bundle', 'ca', 'log'])
    assert.match(sallyport(['keys', 'list']).stdout, /^bundle +ed25519 +sign +sealed +exportable/m)
    assert.deepEqual(json(['keys', 'rotate']), { term: 2 })

    const few = sallyport(['keys', 'rekey'], shares[0])
    assert.equal(few.status, 4, few.stderr)
    assert.equal(sallyport(['keys', 'rekey', '--shares', 'many'], shares.join('\n')).status, 2)
    const rekey = ['keys', 'rekey', '--shares', '2', '--threshold', '2']
    const next = json(rekey, shares.join('\n'))['shares'] as string[]
    assert.equal(next.length, 2)
    assert.equal(sallyport(['keys', 'confirm'], shares.join('\n')).status, 4)
    assert.equal(json(['keys', 'confirm'], next.join('\n'))['state'], 'unsealed')
    assert.equal(sallyport(['keys', 'cancel']).status, 1)
    await control.stop()

    const again = start()
    try {
      assert.equal((await again.next())['ready'], 'sealed')
      assert.equal(sallyport(['unseal'], shares[0]).status, 4)
      assert.equal(json(['unseal'], next.join('\n'))['state'], 'unsealed')
      assert.equal((await again.next())['ready'], 'control')
    } finally {
      await again.stop()
    }
    // Asked to stop while it is sealed, it stops.
    const third = start()
    assert.equal((await third.next())['ready'], 'sealed')
    const [code] = (await third.stop()) as [number | null]
    assert.equal(code, 1)
  } finally {
    await control.stop().catch(() => undefined)
  }
})

test('init refuses what does not go together, and makes nothing', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sp-keys-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const init = (...args: string[]): Result =>
    spawnSync(process.execPath, [BIN, 'init', ...args], { cwd: dir, encoding: 'utf8' })
  const module = ['--pkcs11-module', '/nowhere.so', '--pkcs11-token', 'bank']
  for (const args of [
    ['--keys', 'cloud'],
    ['--keys', 'pkcs11'],
    ['--keys', 'pkcs11', '--pkcs11-token', 'bank'],
    ['--keys', 'sealed', '--pkcs11-pin-file', 'x'],
    [...module],
    ['--shares', '5'],
    ['--keys', 'sealed', '--shares', 'five'],
  ]) {
    const { status, stderr } = init(...args)
    assert.equal(status, 2, `${args.join(' ')}: ${stderr}`)
  }
  const absent = init('--keys', 'pkcs11', ...module)
  assert.equal(absent.status, 3, absent.stderr)
  assert.match(absent.stderr, /SP_HSM_MODULE/)
  assert.throws(() => readFileSync(join(dir, '.sallyport/trust/pins.json')))
  assert.equal(init('--keys', 'sealed', '--shares', '1', '--threshold', '1').status, 2)
  assert.throws(() => readFileSync(join(dir, '.sallyport/trust/pins.json')))
})
