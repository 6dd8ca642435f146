import { createHash } from 'node:crypto'
import { isValidIBAN } from 'ibantools'
import { luhn, digitsOf, weighted } from './checksums.ts'
import type { Recogniser } from './recogniser.ts'

const CAPITALS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'

/** Payment cards, accounts and wallets. */
export const payment: readonly Recogniser[] = [
  {
    id: 'credit_card',
    kind: 'CARD',
    group: 'identifiers',
    starts: 'd4[s-]# d12-19',
    // ISO/IEC 7812-1: 12 to 19 digits. A 1 begins airline cards only, of 15 digits.
    pattern:
      /(?:[2-6]\d{3}[- ]\d{4}[- ]\d{4}[- ]\d{4}(?:[- ]\d{3})?|3\d{3}[- ]\d{6}[- ]\d{4,5}|[2-6]\d{11,18}|1\d{14})(?![\w-])/y,
    holds: (text) => luhn(text) && !/^0*$/.test(text.slice(4)),
  },
  {
    id: 'iban',
    kind: 'IBAN',
    group: 'identifiers',
    starts: 'm4[s-] m8-32',
    pattern:
      /[A-Z]{2}\d{2}(?:[A-Z0-9]{4}){2,7}[A-Z0-9]{0,3}(?![A-Za-z0-9])|[A-Z]{2}\d{2}(?:[ -][A-Z0-9]{4}){2,7}(?:[ -][A-Z0-9]{1,3})?(?![A-Za-z0-9])/iy,
    holds: isIban,
  },
  {
    id: 'bic',
    kind: 'BIC',
    group: 'identifiers',
    starts: 'l8 l11 m8 m11',
    initials: CAPITALS,
    // ISO 9362: institution, country, location, branch.
    pattern:
      /[A-Z]{4}(?:A[DELRTUZ]|B[AEGHRY]|C[AHNRYZ]|D[EKO]|E[EGS]|F[IR]|G[BEIRT]|H[KRU]|I[ELNST]|J[OP]|K[RWZ]|L[BIKTUVY]|M[CDEKTUX]|N[LOZ]|P[KLST]|Q[AT]|R[OSU]|S[AEGIKM]|T[NR]|U[AS]|V[AG]|XK|ZA)[A-Z0-9]{2}(?:[A-Z0-9]{3})?(?!\w)/y,
    context: /\b(?:bic|swift)\b/,
  },
  {
    id: 'crypto',
    kind: 'WALLET',
    group: 'identifiers',
    starts: 'm14-32 n26-32 l14-32',
    initials: '013bB',
    pattern:
      /(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|(?:bc1|BC1)[02-9ac-hj-np-zAC-HJ-NP-Z]{11,87}|0x[0-9a-fA-F]{40})(?!\w)/y,
    holds: (text) =>
      text.startsWith('0x') || (/^bc1/i.test(text) ? bech32(text) : base58Check(text)),
  },
  {
    id: 'aba_routing',
    kind: 'ACCOUNT',
    group: 'identifiers',
    starts: 'd4[-] d9',
    initials: '0123678',
    pattern: /[0123678]\d{3}(?:\d{5}|-\d{4}-\d)(?![\w-])/y,
    holds: (text) => weighted(digitsOf(text), [3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 === 0,
    context: /\b(?:aba|routing|bank|wire|ach|transit)\b/,
  },
  {
    id: 'us_bank',
    kind: 'ACCOUNT',
    group: 'identifiers',
    starts: 'd8-17',
    pattern: /\d{8,17}(?!\w)/y,
    context:
      /\b(?:account|acct|bank|iban|konto|savings|checking|deposit|debit|payee|beneficiary)\b/,
  },
]

/** As it is, or without a short word after it that is none of it. */
function isIban(text: string): boolean | number {
  const valid = (part: string): boolean => isValidIBAN(part.replaceAll(/[ -]/g, '').toUpperCase())
  if (valid(text)) return true
  const shorter = text.replace(/[ -][A-Za-z0-9]{1,4}$/, '')
  return shorter.length < text.length && valid(shorter) ? shorter.length : false
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()
const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** Bitcoin addresses of versions 0 and 5. */
function base58Check(text: string): boolean {
  let value = 0n
  for (const c of text) value = value * 58n + BigInt(BASE58.indexOf(c))
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.length > 50 ? '' : hex.padStart(50, '0'), 'hex')
  if (bytes.length !== 25) return false
  return sha256(sha256(bytes.subarray(0, 21)))
    .subarray(0, 4)
    .equals(bytes.subarray(21))
}

const BECH32 = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]

/** BIP 173 and BIP 350. */
function bech32(text: string): boolean {
  if (text !== text.toLowerCase() && text !== text.toUpperCase()) return false
  const values = [3, 3, 0, 2, 3]
  for (const c of text.toLowerCase().slice(3)) values.push(BECH32.indexOf(c))
  let sum = 1
  for (const value of values) {
    const top = sum >>> 25
    sum = ((sum & 0x1ffffff) << 5) ^ value
    for (let i = 0; i < 5; i++) if ((top >>> i) & 1) sum ^= GENERATOR[i] ?? 0
  }
  return sum === 1 || sum === 0x2bc830a3
}
