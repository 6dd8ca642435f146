import assert from 'node:assert/strict'
import { verify } from 'node:crypto'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  createBarrier,
  openBarrier,
  openTokenKeys,
  pinSource,
  sealedKeys,
  softwareKeys,
} from '../src/index.ts'
import type { KeyProvider } from '../src/index.ts'
import { MemoryStorage } from './support/memory.ts'
import { noSoftHsm, PIN, softHsm, softHsmModule } from './support/softhsm.ts'

const code = (value: string): { code: string } => ({ code: value })
const dir = await mkdtemp(join(tmpdir(), 'keys-'))
const hsm = noSoftHsm ? undefined : softHsm('keys')
after(async () => {
  await rm(dir, { recursive: true })
  hsm?.remove()
})

const folder = (): Promise<string> => mkdtemp(join(dir, 'k-'))
const openToken = (prefix = 'sallyport/bank/') =>
  openTokenKeys({ module: softHsmModule, token: 'keys', prefix, pin: () => PIN })

const providers: Readonly<Record<string, () => Promise<KeyProvider>>> = {
  software: async () => softwareKeys({ dir: await folder() }),
  async sealed() {
    const shares = { count: 2, threshold: 2 }
    const { barrier } = await createBarrier({ storage: new MemoryStorage(), shares })
    return sealedKeys({ dir: await folder(), barrier })
  },
  pkcs11: () => openToken(),
}

for (const [kind, make] of Object.entries(providers)) {
  const skip = kind === 'pkcs11' && noSoftHsm
  test(`${kind}: keys are made once, sign, and stand in the register`, { skip }, async () => {
    const provider = await make()
    const before = Date.now() - 86_400_000
    const data = Buffer.from('data')
    const ca = await provider.generate('ca', 'p256')
    const bundle = await provider.generate('bundle', 'ed25519')
    for (const [name, made, digest] of [
      ['ca', ca, 'sha256'],
      ['bundle', bundle, null],
    ] as const) {
      const found = await provider.signer(name)
      assert.ok(found.publicKey.equals(made.publicKey))
      assert.ok(verify(digest, data, made.publicKey, found.sign(data)))
      assert.equal(verify(digest, Buffer.from('date'), made.publicKey, found.sign(data)), false)
      await assert.rejects(provider.generate(name, 'p256'), code('SP_KEY_EXISTS'))
    }
    await assert.rejects(provider.signer('log'), code('SP_KEY_MISSING'))
    for (const name of ['', '../ca', 'CA', 'a/b', '-a', 'x'.repeat(65), 'ca\0']) {
      await assert.rejects(provider.signer(name), code('SP_KEY_NAME'))
      await assert.rejects(provider.destroy(name), code('SP_KEY_NAME'))
      await assert.rejects(provider.generate(name, 'p256'), code('SP_KEY_NAME'))
    }
    const keys = (await provider.keys()).toSorted((a, b) => a.name.localeCompare(b.name))
    assert.deepEqual(
      keys.map(({ name, algorithm, use, provider: where, exportable }) => {
        return [name, algorithm, use, where, exportable]
      }),
      [
        ['bundle', 'ed25519', 'sign', kind, kind !== 'pkcs11'],
        ['ca', 'p256', 'sign', kind, kind !== 'pkcs11'],
      ],
    )
    for (const { createdAt = 0, fingerprint } of keys) {
      assert.ok(createdAt > before && createdAt <= Date.now())
      assert.match(fingerprint ?? '', /^[0-9a-f]{64}$/)
    }
    await provider.close()
  })

  test(`${kind}: a key that was destroyed is gone, and no other with it`, { skip }, async () => {
    const provider = await make()
    const before = await provider.names()
    const [gone, stays] = [`gone-${kind}`, `stays-${kind}`]
    await provider.generate(gone, 'p256')
    const kept = await provider.generate(stays, 'p256')
    assert.deepEqual(await provider.names(), [...before, gone, stays].toSorted())
    await provider.destroy(gone)
    await provider.destroy(gone)
    await assert.rejects(provider.signer(gone), code('SP_KEY_MISSING'))
    assert.deepEqual(await provider.names(), [...before, stays].toSorted())
    assert.ok((await provider.signer(stays)).publicKey.equals(kept.publicKey))
    await provider.keys()
    // Its name is free again: the next key is another one.
    const next = await provider.generate(gone, 'p256')
    assert.equal(next.publicKey.equals(kept.publicKey), false)
    await provider.destroy(gone)
    await provider.destroy(stays)
    await provider.close()
  })
}

test('software: a key that others can read, or that is none, is refused', async () => {
  const where = await folder()
  const provider = softwareKeys({ dir: where })
  await provider.generate('ca', 'p256')
  await chmod(join(where, 'ca.key'), 0o640)
  await assert.rejects(provider.signer('ca'), code('SP_KEY_PERMISSIONS'))
  await chmod(join(where, 'ca.key'), 0o600)
  await provider.signer('ca')
  await writeFile(join(where, 'ca.key'), 'nothing')
  await assert.rejects(provider.signer('ca'), code('SP_KEY_DAMAGED'))
})

test('sealed: nothing of the key is in the file; sealed, neither old nor new signers sign; files cannot be swapped', async () => {
  const where = await folder()
  const storage = new MemoryStorage()
  const made = await createBarrier({ storage, shares: { count: 2, threshold: 2 } })
  const provider = sealedKeys({ dir: where, barrier: made.barrier })
  const ca = await provider.generate('ca', 'p256')
  await provider.generate('other', 'p256')
  assert.doesNotMatch(await readFile(join(where, 'ca.sealed'), 'utf8'), /PRIVATE/)
  const found = await provider.signer('ca')
  made.barrier.seal()
  const sealed = code('SP_SEAL_SEALED')
  assert.throws(() => ca.sign(Buffer.from('x')), sealed)
  assert.throws(() => found.sign(Buffer.from('x')), sealed)
  await assert.rejects(provider.signer('ca'), sealed)
  await assert.rejects(provider.generate('new', 'p256'), sealed)
  assert.equal((await provider.keys()).length, 2)
  const barrier = await openBarrier({ storage })
  const again = sealedKeys({ dir: where, barrier })
  for (const share of made.shares) await barrier.unsealWithShare(share)
  assert.ok((await again.signer('ca')).publicKey.equals(ca.publicKey))
  const own = await readFile(join(where, 'ca.sealed'), 'utf8')
  const other = await readFile(join(where, 'other.sealed'), 'utf8')
  await writeFile(join(where, 'ca.sealed'), other)
  await assert.rejects(again.signer('ca'), code('SP_SEAL_INVALID'))
  const mixed = { ...JSON.parse(own), publicKey: JSON.parse(other).publicKey }
  await writeFile(join(where, 'ca.sealed'), JSON.stringify(mixed))
  await assert.rejects(again.signer('ca'), code('SP_KEY_DAMAGED'))
  for (const bad of ['', '{}', 'null', '[]', '{"publicKey":"AA","ciphertext":"AA"}']) {
    await writeFile(join(where, 'ca.sealed'), bad)
    await assert.rejects(again.signer('ca'), code('SP_KEY_DAMAGED'))
  }
})

test(
  'pkcs11: what a failed initialisation made is destroyed, and nothing else; networks do not see each other',
  { skip: noSoftHsm },
  async () => {
    const first = await openToken('sallyport/a/')
    const kept = await first.generate('ca', 'p256')
    await first.generateUnsealer('unseal')
    const second = await openToken('sallyport/b/')
    await second.generate('ca', 'p256')
    await second.generateUnsealer('unseal')
    assert.equal((await second.keys()).length, 2)
    await second.discard()
    assert.deepEqual(await second.keys(), [])
    await second.generate('ca', 'p256')
    assert.ok((await first.signer('ca')).publicKey.equals(kept.publicKey))
    const [, unseal] = await first.keys()
    assert.deepEqual(
      [unseal?.name, unseal?.algorithm, unseal?.use, unseal?.exportable],
      ['unseal', 'aes256', 'unseal', false],
    )
    await first.close()
    await second.close()
  },
)

test('a PIN comes from a file that only its owner reads, or from the environment', async () => {
  const file = join(await folder(), 'pin')
  const source = code('SP_HSM_PIN_SOURCE')
  assert.throws(pinSource({}), source)
  assert.throws(pinSource({ env: '' }), source)
  assert.throws(pinSource({ file, env: 'not this one' }), source)
  await writeFile(file, '12 34\n', { mode: 0o600 })
  assert.equal(pinSource({ file })(), '12 34')
  assert.equal(pinSource({ env: '12' })(), '12')
  await chmod(file, 0o644)
  assert.throws(pinSource({ file }), source)
  await chmod(file, 0o600)
  await writeFile(file, '\n')
  assert.throws(pinSource({ file }), source)
})
