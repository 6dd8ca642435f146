import { BODIES } from './bodies.ts'
import { CERTIFICATES } from './certificates.ts'
import { DECIMALS } from './decimals.ts'
import { DOORS } from './doors.ts'
import { JWTS } from './jwt.ts'
import { PEOPLE } from './people.ts'
import { PROOFS } from './proofs.ts'
import { SECRETS_ROWS } from './secrets.ts'
import { TOKENS_ROWS } from './tokens.ts'
import type { RedRow } from './types.ts'

/** The rows of docs/identity/must-reject.md, each with the check that stands against it. */
export const ROWS: readonly RedRow[] = [
  ...CERTIFICATES,
  ...SECRETS_ROWS,
  ...JWTS,
  ...TOKENS_ROWS,
  ...PEOPLE,
  ...DECIMALS,
  ...DOORS,
  ...BODIES,
  ...PROOFS,
]
