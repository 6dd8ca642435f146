import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

export type KeyKind = 'software' | 'sealed' | 'pkcs11'

/** A token, as `trust/keys.json` names it. The PIN is never there. */
export interface TokenSettings {
  /** Absolute path of the PKCS#11 module. */
  readonly module: string
  /** Label of the token. */
  readonly token: string
  /** What the labels of its objects begin with. */
  readonly prefix: string
  /** File (0600) that holds the PIN; otherwise the environment has it. */
  readonly pinFile?: string
}

/** Where the keys of a network are: `trust/keys.json`, made by `init`. */
export interface KeySettings {
  readonly kind: KeyKind
  /** Milliseconds since the epoch. */
  readonly madeAt: number
  /** Keeps the keys (`pkcs11`), or unseals them (`sealed`). */
  readonly token?: TokenSettings
}

/** @throws SallyportError `SP_TRUST_DAMAGED` */
export function readKeySettings(text: string): KeySettings {
  const value = membersOf(parseJson(text))
  const { kind, madeAt } = value
  const token = value['token'] === undefined ? undefined : readToken(value['token'])
  if (typeof madeAt !== 'number') throw damaged('`madeAt` is missing')
  if (kind === 'pkcs11' && !token) throw damaged('`token` is missing')
  if (kind !== 'software' && kind !== 'sealed' && kind !== 'pkcs11') {
    throw damaged('`kind` is unknown')
  }
  return { kind, madeAt, ...(token ? { token } : {}) }
}

function readToken(value: JsonValue): TokenSettings {
  const { module, token, prefix, pinFile } = membersOf(value)
  const texts = typeof module === 'string' && typeof token === 'string'
  if (!texts || typeof prefix !== 'string') throw damaged('`token` is incomplete')
  return { module, token, prefix, ...(typeof pinFile === 'string' ? { pinFile } : {}) }
}

function membersOf(value: JsonValue): Readonly<Record<string, JsonValue>> {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw damaged('it is not an object')
  }
  // Neither null nor an array: a JSON object.
  return value as Readonly<Record<string, JsonValue>>
}

function damaged(why: string): SallyportError {
  return new SallyportError('SP_TRUST_DAMAGED', 'the trust root is damaged', {
    detail: `keys.json: ${why}`,
    fix: 'restore the folder `trust` from a backup',
  })
}
