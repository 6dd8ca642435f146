import { createPublicKey } from 'node:crypto'
import type { Unsealer } from '../barrier/types.ts'
import { checkName, fingerprintOf } from '../keys/local.ts'
import type { KeyAlgorithm, KeyInfo, KeyProvider, Signer } from '../keys/types.ts'
import { CKA, CKO } from './constants.ts'
import { destroy, find, generatePair, generateSecret, isExportable } from './objects.ts'
import { only, publicKeyOf, read } from './objects.ts'
import { tokenSigner } from './signer.ts'
import { Token } from './token.ts'
import type { TokenOptions } from './token.ts'
import { tokenUnsealer } from './unsealer.ts'

export interface TokenKeysOptions extends TokenOptions {
  /** Before each name in the labels of objects, e.g. `sallyport/bank.example/`: one token may serve several networks. */
  readonly prefix: string
}

/** Keys that a token made and keeps. */
export interface TokenKeys extends KeyProvider {
  /** Makes the AES key that unseals a barrier. @throws SallyportError `SP_KEY_EXISTS`, `SP_HSM_*` */
  generateUnsealer(name: string): Promise<Unsealer>
  /** @throws SallyportError `SP_KEY_MISSING`, `SP_HSM_*` when it is used */
  unsealer(name: string): Unsealer
  /** Destroys what was generated through this object: for an initialisation that failed. */
  discard(): Promise<void>
}

/** @throws SallyportError `SP_HSM_MODULE`, `SP_HSM_TOKEN`, `SP_HSM_PIN`, `SP_HSM_FAILED` */
export async function openTokenKeys(options: TokenKeysOptions): Promise<TokenKeys> {
  const token = await Token.open(options)
  const made: string[] = []
  const labelOf = (name: string): string => {
    checkName(name)
    return `${options.prefix}${name}`
  }
  return {
    kind: 'pkcs11',
    signer: async (name) => tokenSigner(token, labelOf(name)),
    async generate(name: string, algorithm: KeyAlgorithm): Promise<Signer> {
      const label = labelOf(name)
      generatePair(token, label, algorithm)
      made.push(label)
      return tokenSigner(token, label)
    },
    async generateUnsealer(name) {
      const label = labelOf(name)
      generateSecret(token, label)
      made.push(label)
      return tokenUnsealer(token, label)
    },
    unsealer: (name) => tokenUnsealer(token, labelOf(name)),
    async destroy(name) {
      destroy(token, labelOf(name))
    },
    names: async () => namesIn(token, options.prefix),
    keys: async () => keysIn(token, options.prefix),
    async discard() {
      for (const label of made.splice(0)) destroy(token, label)
    },
    close: async () => token.close(),
  }
}

/** Names of private keys, or of public ones whose private key is gone: what a crash while destroying leaves. */
function namesIn(token: Token, prefix: string): string[] {
  const labels = token.run((session) =>
    [CKO.privateKey, CKO.publicKey].flatMap((cls) =>
      find(token, session, [[CKA.class, cls]]).map(
        (handle) => read(token, session, handle, [CKA.label])[0]?.toString('utf8') ?? '',
      ),
    ),
  )
  const names = labels.filter((label) => label.startsWith(prefix))
  return [...new Set(names.map((label) => label.slice(prefix.length)))].toSorted()
}

function keysIn(token: Token, prefix: string): KeyInfo[] {
  return token.run((session) =>
    [CKO.privateKey, CKO.secretKey].flatMap((cls) =>
      find(token, session, [[CKA.class, cls]]).flatMap((handle): KeyInfo[] => {
        const [label] = read(token, session, handle, [CKA.label])
        const name = label?.toString('utf8') ?? ''
        if (!name.startsWith(prefix)) return []
        // SoftHSM tells the date of public objects only.
        const dated = cls === CKO.secretKey ? handle : only(token, session, CKO.publicKey, name)
        const [date] = read(token, session, dated, [CKA.startDate])
        const createdAt = date && dayOf(date)
        const common = {
          name: name.slice(prefix.length),
          provider: 'pkcs11',
          exportable: isExportable(token, session, handle),
          ...(createdAt === undefined ? {} : { createdAt }),
        }
        if (cls === CKO.secretKey) return [{ ...common, algorithm: 'aes256', use: 'unseal' }]
        const { algorithm, spki } = publicKeyOf(token, session, name)
        const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
        return [{ ...common, algorithm, use: 'sign', fingerprint: fingerprintOf(publicKey) }]
      }),
    ),
  )
}

/** CK_DATE, `YYYYMMDD`. */
function dayOf(date: Buffer): number | undefined {
  const [, y = '', m = '', d = ''] = /^(\d{4})(\d\d)(\d\d)$/.exec(date.toString('latin1')) ?? []
  const at = Date.parse(`${y}-${m}-${d}T00:00:00Z`)
  return Number.isNaN(at) ? undefined : at
}
