import { createPublicKey, hash, randomBytes, verify } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import type { KeyAlgorithm, Signer } from '../keys/types.ts'
import { CKM, CKO } from './constants.ts'
import { ecdsaDer } from './ecdsa-der.ts'
import { mechanism } from './memory.ts'
import { demandUnexportable, only, publicKeyOf } from './objects.ts'
import type { Token } from './token.ts'

/** P-256: r and s; Ed25519: R and S. */
const SIGNATURE_BYTES = 64

/**
 * A signer over the private key with this label, which has to be one that cannot leave the token. It signs once to see that the public key
 * beside it is its own.
 *
 * @throws SallyportError `SP_KEY_MISSING`, `SP_HSM_*`
 */
export function tokenSigner(
  token: Token,
  label: string,
): Signer & { readonly algorithm: KeyAlgorithm } {
  const { algorithm, spki } = token.run((session) => publicKeyOf(token, session, label))
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  const edwards = algorithm === 'ed25519'
  const type = edwards ? CKM.eddsa : CKM.ecdsa
  token.demand(type, edwards ? 'CKM_EDDSA' : 'CKM_ECDSA')
  const { module } = token
  const how = mechanism(type)
  const length = Buffer.alloc(8)
  let found: { readonly handle: bigint; readonly generation: number } | undefined
  const sign = (data: Uint8Array): Buffer => {
    // Never an empty buffer: its pointer would be null, which modules refuse.
    const message = edwards
      ? Buffer.concat([data, Buffer.alloc(1)])
      : hash('sha256', data, 'buffer')
    const messageBytes = edwards ? data.byteLength : message.byteLength
    const signature = Buffer.alloc(SIGNATURE_BYTES)
    token.run((session) => {
      if (found?.generation !== token.generation) {
        const handle = only(token, session, CKO.privateKey, label)
        demandUnexportable(token, session, handle)
        found = { handle, generation: token.generation }
      }
      module.must('C_SignInit', session, how, found.handle)
      length.writeBigUInt64LE(BigInt(SIGNATURE_BYTES))
      module.must('C_Sign', session, message, messageBytes, signature, length)
    })
    if (length.readBigUInt64LE() !== BigInt(SIGNATURE_BYTES)) throw foreign(label)
    return edwards ? signature : ecdsaDer(signature)
  }
  const probe = randomBytes(32)
  if (!verify(edwards ? null : 'sha256', probe, publicKey, sign(probe))) throw foreign(label)
  return { algorithm, publicKey, sign }
}

function foreign(label: string): SallyportError {
  return new SallyportError('SP_HSM_KEY', `the public key \`${label}\` is not the private key's`, {
    fix: 'destroy both objects in the token and restore the pair, or make another network',
  })
}
