import { randomBytes } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { CKA, CKK, CKM, CKO } from './constants.ts'
import { answer, mechanism, query, template } from './memory.ts'
import type { Template } from './memory.ts'
import type { Token } from './token.ts'
import type { KeyAlgorithm } from '../keys/types.ts'

/** OBJECT IDENTIFIERs, DER: prime256v1, Ed25519 (RFC 8410). */
const CURVES: Readonly<Record<KeyAlgorithm, Buffer>> = {
  p256: Buffer.from('06082a8648ce3d030107', 'hex'),
  ed25519: Buffer.from('06032b6570', 'hex'),
}
/** SubjectPublicKeyInfo up to the key itself. */
const SPKI_HEADS: Readonly<Record<KeyAlgorithm, Buffer>> = {
  p256: Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex'),
  ed25519: Buffer.from('302a300506032b6570032100', 'hex'),
}
const POINT_BYTES: Readonly<Record<KeyAlgorithm, number>> = { p256: 65, ed25519: 32 }
const MAX_OBJECTS = 512
const MAX_ATTRIBUTE = 512

/** Handles of the objects that match, in one search. */
export function find(token: Token, session: bigint, attributes: Template): bigint[] {
  const { module } = token
  const { buffer, count } = template(attributes, module.addressOf)
  module.must('C_FindObjectsInit', session, buffer, count)
  try {
    const handles = Buffer.alloc(MAX_OBJECTS * 8)
    const found = Buffer.alloc(8)
    module.must('C_FindObjects', session, handles, MAX_OBJECTS, found)
    const length = Math.min(Number(found.readBigUInt64LE()), MAX_OBJECTS)
    return Array.from({ length }, (_, i) => handles.readBigUInt64LE(i * 8))
  } finally {
    module.call('C_FindObjectsFinal', session)
  }
}

/** The one object of a class and label. @throws SallyportError `SP_KEY_MISSING`, `SP_HSM_KEY` */
export function only(token: Token, session: bigint, cls: number, label: string): bigint {
  const found = find(token, session, [
    [CKA.class, cls],
    [CKA.label, Buffer.from(label)],
  ])
  const [handle] = found
  if (handle === undefined) {
    throw new SallyportError('SP_KEY_MISSING', `there is no key \`${label}\``, {
      detail: `token \`${token.label}\` of ${token.module.path}`,
      fix: 'name the token that the keys were made in, or make them with `sallyport init`',
    })
  }
  if (found.length > 1) {
    throw new SallyportError('SP_HSM_KEY', `there are ${found.length} keys \`${label}\``, {
      detail: `token \`${token.label}\``,
      fix: 'rename or destroy the keys that are not ours',
    })
  }
  return handle
}

/** Values of attributes of one object; undefined for those that it has not. */
export function read(
  token: Token,
  session: bigint,
  handle: bigint,
  types: readonly number[],
): readonly (Buffer | undefined)[] {
  const { module } = token
  return types.map((type) => {
    const asked = query([{ type, room: MAX_ATTRIBUTE }], module.addressOf)
    // An attribute that an object has not fails the call; it says so for that one as well.
    const value = module.call('C_GetAttributeValue', session, handle, asked.buffer, asked.count)
    return value === 0 ? answer(asked, 0, module.addressOf) : undefined
  })
}

/** @throws SallyportError `SP_HSM_KEY` where the token would hand the key out */
export function demandUnexportable(token: Token, session: bigint, handle: bigint): void {
  if (!isExportable(token, session, handle)) return
  throw new SallyportError('SP_HSM_KEY', 'the key can be carried out of the token', {
    detail: `token \`${token.label}\`: CKA_SENSITIVE has to be true and CKA_EXTRACTABLE false`,
    fix: 'make the keys with `sallyport init --keys pkcs11`, in the token itself',
  })
}

export function isExportable(token: Token, session: bigint, handle: bigint): boolean {
  const [sensitive, extractable] = read(token, session, handle, [CKA.sensitive, CKA.extractable])
  return sensitive?.[0] !== 1 || extractable?.[0] !== 0
}

/** SubjectPublicKeyInfo (DER) of the public key object with this label. @throws SallyportError `SP_HSM_KEY` */
export function publicKeyOf(
  token: Token,
  session: bigint,
  label: string,
): { readonly algorithm: KeyAlgorithm; readonly spki: Buffer } {
  const handle = only(token, session, CKO.publicKey, label)
  const [parameters, point] = read(token, session, handle, [CKA.ecParams, CKA.ecPoint])
  for (const algorithm of ['p256', 'ed25519'] as const) {
    if (!parameters?.equals(CURVES[algorithm])) continue
    const bytes = POINT_BYTES[algorithm]
    // A DER OCTET STRING, or with some modules the point alone.
    const wrapped = point?.length === bytes + 2 && point[0] === 0x04 && point[1] === bytes
    const raw = wrapped ? point.subarray(2) : point
    if (raw?.length === bytes)
      return { algorithm, spki: Buffer.concat([SPKI_HEADS[algorithm], raw]) }
  }
  throw new SallyportError('SP_HSM_KEY', `the key \`${label}\` is neither P-256 nor Ed25519`)
}

/** Makes a pair that signs and nothing else; the private key is sensitive, not extractable and cannot be changed. */
export function generatePair(token: Token, label: string, algorithm: KeyAlgorithm): void {
  const { module } = token
  const edwards = algorithm === 'ed25519'
  const type = edwards ? CKM.edwardsKeyPairGen : CKM.ecKeyPairGen
  token.demand(type, edwards ? 'CKM_EC_EDWARDS_KEY_PAIR_GEN' : 'CKM_EC_KEY_PAIR_GEN')
  const keyType = edwards ? CKK.ecEdwards : CKK.ec
  const common: Template = [
    [CKA.keyType, keyType],
    [CKA.token, true],
    [CKA.label, Buffer.from(label)],
    [CKA.id, randomBytes(16)],
    [CKA.startDate, today()],
    [CKA.modifiable, false],
  ]
  const publicKey = template(
    [
      [CKA.class, CKO.publicKey],
      ...common,
      [CKA.private, false],
      [CKA.verify, true],
      [CKA.encrypt, false],
      [CKA.wrap, false],
      [CKA.ecParams, CURVES[algorithm]],
    ],
    module.addressOf,
  )
  const privateKey = template(
    [
      [CKA.class, CKO.privateKey],
      ...common,
      [CKA.private, true],
      [CKA.sensitive, true],
      [CKA.extractable, false],
      [CKA.sign, true],
      [CKA.decrypt, false],
      [CKA.unwrap, false],
      [CKA.derive, false],
    ],
    module.addressOf,
  )
  token.once((session) => {
    unused(token, session, CKO.privateKey, label)
    const made = [Buffer.alloc(8), Buffer.alloc(8)] as const
    const templates = [
      publicKey.buffer,
      publicKey.count,
      privateKey.buffer,
      privateKey.count,
    ] as const
    module.must('C_GenerateKeyPair', session, mechanism(type), ...templates, ...made)
  })
}

/** Makes an AES-256 key that encrypts and decrypts inside the token, sensitive and not extractable. */
export function generateSecret(token: Token, label: string): void {
  const { module } = token
  token.demand(CKM.aesKeyGen, 'CKM_AES_KEY_GEN')
  const key = template(
    [
      [CKA.class, CKO.secretKey],
      [CKA.keyType, CKK.aes],
      [CKA.valueLen, 32],
      [CKA.token, true],
      [CKA.private, true],
      [CKA.label, Buffer.from(label)],
      [CKA.id, randomBytes(16)],
      [CKA.startDate, today()],
      [CKA.modifiable, false],
      [CKA.sensitive, true],
      [CKA.extractable, false],
      [CKA.encrypt, true],
      [CKA.decrypt, true],
      [CKA.wrap, false],
      [CKA.unwrap, false],
      [CKA.sign, false],
    ],
    module.addressOf,
  )
  token.once((session) => {
    unused(token, session, CKO.secretKey, label)
    const handle = Buffer.alloc(8)
    module.must('C_GenerateKey', session, mechanism(CKM.aesKeyGen), key.buffer, key.count, handle)
  })
}

function unused(token: Token, session: bigint, cls: number, label: string): void {
  const there = find(token, session, [
    [CKA.class, cls],
    [CKA.label, Buffer.from(label)],
  ])
  if (there.length === 0) return
  throw new SallyportError('SP_KEY_EXISTS', `there is a key \`${label}\` already`, {
    detail: `token \`${token.label}\``,
    fix: 'use another token, or destroy the old key first; a key is never overwritten',
  })
}

/** CK_DATE. */
const today = (): Buffer => Buffer.from(new Date().toISOString().slice(0, 10).replaceAll('-', ''))

/** Destroys every object of a label, what signs first: no crash leaves a private key without the public one that names it. */
export function destroy(token: Token, label: string): void {
  token.run((session) => {
    for (const cls of [CKO.privateKey, CKO.secretKey, CKO.publicKey]) {
      const wanted: Template = [
        [CKA.class, cls],
        [CKA.label, Buffer.from(label)],
      ]
      for (const handle of find(token, session, wanted)) {
        token.module.must('C_DestroyObject', session, handle)
      }
    }
  })
}
