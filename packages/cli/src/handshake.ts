import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { SallyportError } from '@sallyport/base'
import { listenTarget } from './address.ts'
import { readGiven } from './files.ts'

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
  const rootsPem = readGiven(flags.roots ?? join(data, 'trust', 'ca.pem'))
  const trustDomain = trustDomainOf(rootsPem)
  if ((flags.cert === undefined) !== (flags.key === undefined)) {
    throw new SallyportError('SP_USAGE_OPTION', '`--cert` and `--key` belong together')
  }
  const identity =
    flags.cert === undefined || flags.key === undefined
      ? { rootsPem, trustDomain }
      : {
          ...{ rootsPem, trustDomain },
          ...{ chainPem: readGiven(flags.cert), keyPem: readGiven(flags.key), notAfter: 0 },
        }
  const { ok, code, text } = await diagnose({ target: to, identity })
  return {
    check: `handshake ${address}`,
    state: ok ? 'ok' : 'bad',
    text: code === undefined ? text : `${text} [${code}]`,
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
