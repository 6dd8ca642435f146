import { randomBytes } from 'node:crypto'
import type { Unsealer } from '../barrier/types.ts'
import { CKM, CKO } from './constants.ts'
import { gcmMechanism } from './memory.ts'
import { demandUnexportable, only } from './objects.ts'
import type { Token } from './token.ts'

const IV_BYTES = 12
const TAG_BYTES = 16

/** Unseals with an AES-256 key of a token: AES-GCM inside it, bound to the context. */
export function tokenUnsealer(token: Token, label: string): Unsealer {
  const { module } = token
  const crypt = (way: 'Encrypt' | 'Decrypt', iv: Buffer, data: Buffer, context: string): Buffer =>
    token.run((session) => {
      const key = only(token, session, CKO.secretKey, label)
      demandUnexportable(token, session, key)
      const how = gcmMechanism(CKM.aesGcm, iv, Buffer.from(context), module.addressOf)
      module.must(`C_${way}Init`, session, how, key)
      const out = Buffer.alloc(data.byteLength + TAG_BYTES)
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(out.byteLength))
      module.must(`C_${way}`, session, data, data.byteLength, out, length)
      const result = Buffer.from(out.subarray(0, Number(length.readBigUInt64LE())))
      out.fill(0)
      return result
    })
  return {
    id: `pkcs11:token=${encodeURIComponent(token.label)};object=${encodeURIComponent(label)}`,
    async wrap(rootKey, context) {
      token.demand(CKM.aesGcm, 'CKM_AES_GCM')
      const iv = randomBytes(IV_BYTES)
      return Buffer.concat([iv, crypt('Encrypt', iv, rootKey, context)])
    },
    async unwrap(wrapped, context) {
      const iv = Buffer.from(wrapped.subarray(0, IV_BYTES))
      return crypt('Decrypt', iv, Buffer.from(wrapped.subarray(IV_BYTES)), context)
    },
  }
}
