import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes, verify } from 'node:crypto'
import { after, test } from 'node:test'
import { createBarrier, openBarrier } from '../src/index.ts'
import { CKA, CKF, CKK, CKM, CKO, CKR } from '../src/pkcs11/constants.ts'
import { mechanism, template } from '../src/pkcs11/memory.ts'
import { useModule } from '../src/pkcs11/module.ts'
import { find, generatePair, generateSecret, read } from '../src/pkcs11/objects.ts'
import { ecdsaDer } from '../src/pkcs11/ecdsa-der.ts'
import { pinRefused } from '../src/pkcs11/pin-refused.ts'
import { tokenSigner } from '../src/pkcs11/signer.ts'
import { Token } from '../src/pkcs11/token.ts'
import { tokenUnsealer } from '../src/pkcs11/unsealer.ts'
import { MemoryStorage } from './support/memory.ts'
import { addToken, noSoftHsm, PIN, softHsm, softHsmModule } from './support/softhsm.ts'

const skip = noSoftHsm
const hsm = skip ? undefined : softHsm('bank', 'other')
const code = (value: string): { code: string } => ({ code: value })
const at = (token: string, pin = PIN) => ({ module: softHsmModule, token, pin: () => pin })

// One user of the module stays, so that it is initialised once.
const held = skip ? undefined : await Token.open(at('bank'))
after(() => {
  held?.close()
  hsm?.remove()
})

async function withToken<T>(label: string, act: (token: Token) => T | Promise<T>): Promise<T> {
  const token = await Token.open(at(label))
  try {
    return await act(token)
  } finally {
    token.close()
  }
}

test('a P-256 and an Ed25519 pair made in the token sign, and Node verifies', { skip }, () =>
  withToken('bank', (token) => {
    for (const algorithm of ['p256', 'ed25519'] as const) {
      generatePair(token, `pair ${algorithm}`, algorithm)
      const signer = tokenSigner(token, `pair ${algorithm}`)
      assert.equal(signer.algorithm, algorithm)
      const digest = algorithm === 'p256' ? 'sha256' : null
      for (const length of [0, 1, 32, 5000]) {
        const data = randomBytes(length)
        const signature = signer.sign(data)
        assert.ok(verify(digest, data, signer.publicKey, signature))
        const other = Buffer.concat([data, Buffer.alloc(1)])
        assert.equal(verify(digest, other, signer.publicKey, signature), false)
      }
    }
  }),
)

test('private and secret keys do not leave the token', { skip }, () =>
  withToken('bank', (token) => {
    generatePair(token, 'stays', 'p256')
    generateSecret(token, 'stays')
    token.run((session) => {
      for (const cls of [CKO.privateKey, CKO.secretKey]) {
        const [handle = 0n] = find(token, session, [
          [CKA.class, cls],
          [CKA.label, Buffer.from('stays')],
        ])
        const CKA_VALUE = 0x11
        const [value, sensitive, extractable, always, never] = read(token, session, handle, [
          CKA_VALUE,
          CKA.sensitive,
          CKA.extractable,
          0x165,
          0x164,
        ])
        assert.equal(value, undefined)
        assert.deepEqual([sensitive?.[0], extractable?.[0], always?.[0], never?.[0]], [1, 0, 1, 1])
      }
    })
  }),
)

test('a key that could be carried away is not used, nor one whose label two have', { skip }, () =>
  withToken('bank', (token) => {
    const make = (label: string, extractable: boolean, sensitive = true): void => {
      const { addressOf } = token.module
      const common = [
        [CKA.keyType, CKK.ec],
        [CKA.token, true],
        [CKA.label, Buffer.from(label)],
      ] as const
      const curve = [CKA.ecParams, Buffer.from('06082a8648ce3d030107', 'hex')] as const
      const pub = template([...common, curve, [CKA.verify, true]], addressOf)
      const priv = template(
        [...common, [CKA.sign, true], [CKA.sensitive, sensitive], [CKA.extractable, extractable]],
        addressOf,
      )
      token.once((session) =>
        token.module.must(
          'C_GenerateKeyPair',
          session,
          mechanism(CKM.ecKeyPairGen),
          pub.buffer,
          pub.count,
          priv.buffer,
          priv.count,
          Buffer.alloc(8),
          Buffer.alloc(8),
        ),
      )
    }
    make('stays here', false)
    assert.equal(tokenSigner(token, 'stays here').sign(Buffer.from('x'))[0], 0x30)
    make('leaves', true)
    assert.throws(() => tokenSigner(token, 'leaves'), { ...code('SP_HSM_KEY'), message: /carried/ })
    make('shown', false, false)
    assert.throws(() => tokenSigner(token, 'shown'), code('SP_HSM_KEY'))
    make('stays here', false)
    assert.throws(() => tokenSigner(token, 'stays here'), code('SP_HSM_KEY'))
    assert.throws(() => tokenSigner(token, 'nobody'), code('SP_KEY_MISSING'))
    assert.throws(() => generatePair(token, 'stays here', 'p256'), code('SP_KEY_EXISTS'))
  }),
)

test(
  'a wrong PIN is told with what the token says of the tries, and is not tried again by itself',
  { skip },
  async () => {
    // In a process of its own: a login counts for the whole process.
    const script = `
    import { Token } from ${JSON.stringify(new URL('../src/pkcs11/token.ts', import.meta.url).href)}
    const open = (pin) => Token.open({ module: ${JSON.stringify(softHsmModule)}, token: 'other', pin })
    const tell = (error) => console.log(JSON.stringify([error.code, error.detail]))
    for (const pin of ['wrong-pin', '', 'x'.repeat(300)]) await open(() => pin).then(() => console.log('open'), tell)
    let [pin, read] = [${JSON.stringify(PIN)}, 0]
    const token = await open(() => (read++, pin))
    console.log('open')
    pin = 'changed'
    for (let i = 0; i < 3; i++) {
      try {
        token.run((session) => {
          token.module.call('C_CloseSession', session)
          token.module.must('C_CloseSession', session)
        })
      } catch (error) {
        tell(error)
      }
      pin = ${JSON.stringify(PIN)}
    }
    console.log(read)
    token.close()
  `
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    })
    const [wrong = '', empty = '', long = '', right, ...later] = out.trim().split('\n')
    assert.match(wrong, /^\["SP_HSM_PIN","the PIN is wrong; wrong tries were counted/)
    assert.match(empty, /^\["SP_HSM_PIN"/)
    assert.match(long, /^\["SP_HSM_PIN"/)
    assert.equal(right, 'open')
    assert.equal(later.length, 4)
    for (const again of later.slice(0, 3)) assert.match(again, /^\["SP_HSM_PIN","the PIN is wrong/)
    assert.equal(later[3], '2')
  },
)

test('what a token says of its tries decides whether a PIN is tried at all', () => {
  const told = (flags: number, value?: number): string | undefined =>
    pinRefused('t', flags, value).detail
  assert.match(told(0, CKR.pinIncorrect) ?? '', /wrong; the token does not say/)
  assert.match(told(CKF.userPinCountLow, CKR.pinIncorrect) ?? '', /wrong tries were counted/)
  assert.match(told(CKF.userPinFinalTry) ?? '', /not tried; one more wrong try locks/)
  assert.match(told(CKF.userPinLocked) ?? '', /not tried; the token is locked/)
  assert.match(told(0, CKR.pinLocked) ?? '', /the PIN is locked; the token is locked/)
})

test(
  'an absent token, two of one label, and what is no module are told apart',
  { skip },
  async () => {
    await assert.rejects(Token.open(at('nobody')), code('SP_HSM_TOKEN'))
    addToken('twin')
    addToken('twin')
    await assert.rejects(Token.open(at('twin')), code('SP_HSM_TOKEN'))
    for (const module of ['libsofthsm2.so', '/nowhere.so', '/bin/true', process.execPath, '/']) {
      await assert.rejects(Token.open({ ...at('bank'), module }), code('SP_HSM_MODULE'))
    }
    await withToken('bank', (token) => assert.equal(token.label, 'bank'))
  },
)

test('the module stays loaded while its keys are used, whatever is collected', { skip }, () => {
  const url = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href)
  const script = `
    import { Token } from ${url('../src/pkcs11/token.ts')}
    import { generatePair } from ${url('../src/pkcs11/objects.ts')}
    import { tokenSigner } from ${url('../src/pkcs11/signer.ts')}
    const at = { module: ${JSON.stringify(softHsmModule)}, token: 'other', pin: () => ${JSON.stringify(PIN)} }
    for (let round = 0; round < 2; round++) {
      const token = await Token.open(at)
      if (round === 0) generatePair(token, 'collected', 'p256')
      const signer = tokenSigner(token, 'collected')
      for (let i = 0; i < 5; i++) {
        gc()
        await new Promise((resolve) => setImmediate(resolve))
        signer.sign(Buffer.from('x'))
      }
      token.close()
    }
    console.log('signed')
  `
  const args = ['--expose-gc', '--input-type=module', '-e', script]
  assert.equal(execFileSync(process.execPath, args, { encoding: 'utf8' }), 'signed\n')
})

test('a lost session, a logged-out one and a forgotten key are opened again, once', { skip }, () =>
  withToken('bank', async (token) => {
    generatePair(token, 'lasting', 'ed25519')
    const signer = tokenSigner(token, 'lasting')
    const data = Buffer.from('x')
    const module = await useModule(softHsmModule)
    const slots = Buffer.alloc(80)
    const count = Buffer.alloc(8)
    count.writeBigUInt64LE(10n)
    module.must('C_GetSlotList', 1, slots, count)
    for (let i = 0; i < Number(count.readBigUInt64LE()); i++) {
      module.must('C_CloseAllSessions', slots.readBigUInt64LE(i * 8))
    }
    const { generation } = token
    assert.ok(verify(null, data, signer.publicKey, signer.sign(data)))
    assert.equal(token.generation, generation + 1)
    let tries = 0
    const lost = (): void => {
      tries++
      token.module.must('C_CloseSession', 0xdeadn)
    }
    assert.throws(() => token.run(lost), { ...code('SP_HSM_FAILED'), detail: /SESSION_HANDLE/ })
    assert.equal(tries, 2)
    assert.throws(() => token.once(lost), code('SP_HSM_FAILED'))
    assert.equal(tries, 3)
    module.users--
  }),
)

test('a barrier unseals by a key of the token; another key of it does not open it', { skip }, () =>
  withToken('bank', async (token) => {
    generateSecret(token, 'unseal')
    generateSecret(token, 'unseal 2')
    const storage = new MemoryStorage()
    const unsealer = tokenUnsealer(token, 'unseal')
    assert.equal(unsealer.id, 'pkcs11:token=bank;object=unseal')
    const { barrier } = await createBarrier({ storage, unsealer })
    const ct = await barrier.encrypt('p', 1, Buffer.from('value'))
    const again = await openBarrier({ storage })
    await assert.rejects(
      again.unsealWith(tokenUnsealer(token, 'unseal 2')),
      code('SP_SEAL_UNSEALER'),
    )
    const disguised = { ...tokenUnsealer(token, 'unseal 2'), id: unsealer.id }
    await assert.rejects(again.unsealWith(disguised), code('SP_HSM_FAILED'))
    assert.equal(again.status().state, 'sealed')
    await again.unsealWith(unsealer)
    assert.equal((await again.decrypt('p', 1, ct)).toString(), 'value')
    // Bound to its context, as a ciphertext of ours is.
    const wrapped = await unsealer.wrap(randomBytes(32), 'here')
    assert.equal((await unsealer.unwrap(wrapped, 'here')).byteLength, 32)
    await assert.rejects(unsealer.unwrap(wrapped, 'there'), code('SP_HSM_FAILED'))
  }),
)

test('r and s of any size become the DER that X.509 asks for', () => {
  const raw = (r: string, s: string): string =>
    ecdsaDer(Buffer.concat([pad(r), pad(s)])).toString('hex')
  const pad = (hex: string): Buffer => Buffer.from(hex.padStart(64, '0'), 'hex')
  assert.equal(raw('01', '7f'), '300602010102017f')
  assert.equal(raw('80', '00'), '300702020080020100')
  assert.equal(raw('00ff', 'f'.repeat(64)), `3027020200ff022100${'f'.repeat(64)}`)
})
