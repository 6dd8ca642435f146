import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { SallyportError } from '@sallyport/base'

/**
 * The text of a file that somebody named on the command line.
 *
 * @throws SallyportError `SP_USAGE_OPTION` where it is not there, is none, or is closed to this user
 */
export function readGiven(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'EACCES' || code === 'EPERM') {
      throw new SallyportError('SP_USAGE_OPTION', `this user may not read \`${file}\``, {
        fix: 'run as the user that owns it; keys are for their owner alone',
        cause,
      })
    }
    throw new SallyportError('SP_USAGE_OPTION', `\`${file}\` cannot be read`, {
      fix: 'name the right file, or the right data directory',
      cause,
    })
  }
}

/**
 * The public key of a log.
 *
 * @param file PEM
 * @throws SallyportError `SP_USAGE_OPTION`
 */
export function publicKeyIn(file: string): KeyObject {
  const pem = readGiven(file)
  try {
    return createPublicKey(pem)
  } catch (cause) {
    throw new SallyportError('SP_USAGE_OPTION', `\`${file}\` holds no public key`, {
      fix: 'name the PEM file that the gateway wrote beside its log: `log.pub`',
      cause,
    })
  }
}
