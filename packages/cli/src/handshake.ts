import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '@sallyport/base'
import { listenTarget } from './address.ts'

export interface HandshakeFlags {
  readonly connect?: string
  readonly roots?: string
  readonly cert?: string
  readonly key?: string
}

/**
 * Why a connection to a server of the network fails, in one line.
 *
 * @throws SallyportError `SP_USAGE_ADDRESS`, `SP_USAGE_OPTION` where a file cannot be read
 */
export async function handshake(
  address: string,
  data: string,
  flags: HandshakeFlags,
): Promise<{ check: string; state: 'ok' | 'bad'; text: string }> {
  const { diagnose } = await import('@sallyport/agent')
  const to = listenTarget(address)
  const rootsPem = read(flags.roots ?? join(data, 'trust', 'ca.pem'))
  const trustDomain = trustDomainOf(rootsPem)
  if ((flags.cert === undefined) !== (flags.key === undefined)) {
    throw new SallyportError('SP_USAGE_OPTION', '`--cert` and `--key` belong together')
  }
  const identity =
    flags.cert === undefined || flags.key === undefined
      ? { rootsPem, trustDomain }
      : {
          ...{ rootsPem, trustDomain },
          ...{ chainPem: read(flags.cert), keyPem: read(flags.key), notAfter: 0 },
        }
  const { ok, code, text } = await diagnose({ target: to, identity })
  return {
    check: `handshake ${address}`,
    state: ok ? 'ok' : 'bad',
    text: code === undefined ? text : `${text} [${code}]`,
  }
}

/** @throws SallyportError `SP_USAGE_OPTION` */
export function read(file: string): string {
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

/** A root names its trust domain as its one URI. */
export function trustDomainOf(rootsPem: string): string {
  try {
    const { subjectAltName = '' } = new X509Certificate(rootsPem)
    const [, trustDomain] =
      /(?:^|, )URI:spiffe:\/\/([a-z0-9._-]+)(?:$|, )/.exec(subjectAltName) ?? []
    if (trustDomain !== undefined) return trustDomain
  } catch {
    // Said below.
  }
  throw new SallyportError('SP_USAGE_OPTION', 'the roots are no SPIFFE roots in PEM form')
}
