import { createPrivateKey, hash, X509Certificate } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { SallyportError } from '@sallyport/base'

export interface CertificateFiles {
  /** PEM: the server's own certificate first, then each one that certifies the one before it. */
  readonly certFile: string
  /** PEM: its private key, without a passphrase. */
  readonly keyFile: string
}

/** What is in the two files, unjudged. */
export interface CertificateBytes {
  readonly cert: Buffer
  readonly key: Buffer
  /** Changes where either does. */
  readonly digest: string
}

export interface CertificateFacts {
  /** The host names it covers. */
  readonly names: readonly string[]
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  /** SHA-256, as `openssl x509 -fingerprint -sha256` prints it. */
  readonly fingerprint: string
}

const MAX_BYTES = 256 * 1024
const MAX_CHAIN = 10
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g
const CURVES = ['prime256v1', 'secp384r1']

/** @throws SallyportError `SP_CONSOLE_CERT_INVALID`, `SP_CONSOLE_KEY_EXPOSED` */
export async function readCertificateFiles(files: CertificateFiles): Promise<CertificateBytes> {
  const cert = await readBounded(files.certFile)
  const key = await readBounded(files.keyFile)
  if ((key.mode & 0o007) !== 0) {
    throw new SallyportError(
      'SP_CONSOLE_KEY_EXPOSED',
      `everybody on this machine can open the key \`${files.keyFile}\``,
      {
        detail: `mode ${(key.mode & 0o777).toString(8)}`,
        fix: 'find out who did, `chmod 600` it, and have the certificate issued anew for another key',
      },
    )
  }
  const digest = hash('sha256', Buffer.concat([cert.bytes, Buffer.from([0]), key.bytes]))
  return { cert: cert.bytes, key: key.bytes, digest }
}

/**
 * Whether browsers will take it without an error for this host, as far as that can be known without their roots. Passkeys do not work
 * behind a certificate error, so nothing is let through with a warning.
 *
 * @param host the console's host name
 * @param now milliseconds since the epoch
 * @throws SallyportError `SP_CONSOLE_CERT_INVALID`, `SP_CONSOLE_KEY_MISMATCH`, `SP_CONSOLE_CERT_EXPIRED`, `SP_CONSOLE_CERT_NAME`, `SP_CONSOLE_CERT_CHAIN`
 */
export function checkCertificate(
  bytes: CertificateBytes,
  files: CertificateFiles,
  host: string,
  now: number,
): CertificateFacts {
  const { certFile, keyFile } = files
  const chain = parseChain(bytes.cert, certFile)
  const [leaf] = chain
  if (!leaf) throw invalid(certFile, 'it holds no certificate in PEM')
  const key = parseKey(bytes.key, keyFile)
  if (!leaf.checkPrivateKey(key)) throw mismatch(files, chain, key)
  checkUse(leaf, certFile)
  checkDates(leaf, certFile, now)
  if (leaf.checkHost(host, { subject: 'never', partialWildcards: false }) === undefined) {
    throw new SallyportError(
      'SP_CONSOLE_CERT_NAME',
      `the certificate \`${certFile}\` does not cover \`${host}\``,
      {
        detail: `subjectAltName: ${leaf.subjectAltName ?? 'none'}`,
        fix: `have one issued with the subjectAltName \`DNS:${host}\`; browsers do not read the common name`,
      },
    )
  }
  checkChain(chain, certFile, now)
  try {
    createSecureContext({ cert: bytes.cert, key: bytes.key, minVersion: 'TLSv1.3' })
  } catch (cause) {
    throw invalid(certFile, cause instanceof Error ? cause.message : String(cause), cause)
  }
  return {
    names: dnsNames(leaf),
    notBefore: leaf.validFromDate.getTime(),
    notAfter: leaf.validToDate.getTime(),
    fingerprint: leaf.fingerprint256,
  }
}

/**
 * Reads and judges both files, as the control plane does at its start.
 *
 * @throws SallyportError as `readCertificateFiles` and `checkCertificate`
 */
export async function inspectCertificate(
  files: CertificateFiles,
  host: string,
  now: number,
): Promise<CertificateFacts> {
  return checkCertificate(await readCertificateFiles(files), files, host, now)
}

function dnsNames({ subjectAltName = '' }: X509Certificate): string[] {
  return [...subjectAltName.matchAll(/(?:^|, )DNS:([^,"]+)/g)].map(([, name = '']) => name)
}

async function readBounded(file: string): Promise<{ bytes: Buffer; mode: number }> {
  try {
    // Without blocking, so that a pipe is found out and not waited for.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      // Of the very file that is read, not of what stands there a moment later.
      const stats = await handle.stat()
      if (!stats.isFile()) throw invalid(file, 'it is not a file')
      if (stats.size > MAX_BYTES) throw invalid(file, `it is larger than ${MAX_BYTES} bytes`)
      return { bytes: await handle.readFile(), mode: stats.mode }
    } finally {
      await handle.close()
    }
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause
    throw invalid(file, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function parseChain(bytes: Buffer, file: string): X509Certificate[] {
  const blocks = bytes.toString('latin1').match(PEM) ?? []
  if (blocks.length > MAX_CHAIN) throw invalid(file, `it holds more than ${MAX_CHAIN} certificates`)
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch (cause) {
    throw invalid(file, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function parseKey(bytes: Buffer, file: string): KeyObject {
  try {
    return createPrivateKey(bytes)
  } catch (cause) {
    const locked = bytes.includes('ENCRYPTED')
    throw invalid(
      file,
      locked ? 'the key has a passphrase' : 'it holds no private key in PEM',
      cause,
      locked
        ? 'take the passphrase off (`openssl pkey -in FILE -out OTHER`) and keep the file closed to others'
        : 'name the key file that belongs to the certificate, in PEM',
    )
  }
}

/** What browsers take for a server: RSA or ECDSA on the two common curves, for server authentication, and no CA. */
function checkUse(leaf: X509Certificate, file: string): void {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = leaf.publicKey
  const strong =
    (type === 'rsa' && (details?.modulusLength ?? 0) >= 2048) ||
    (type === 'ec' && CURVES.includes(details?.namedCurve ?? ''))
  if (!strong) {
    const what = details?.namedCurve ?? details?.modulusLength ?? ''
    throw invalid(
      file,
      `browsers do not take its key (${type ?? 'unknown'} ${what})`.replace(' )', ')'),
      undefined,
      'have one issued for a P-256 or P-384 key, or RSA with 2048 bits or more',
    )
  }
  if (leaf.ca) {
    throw invalid(
      file,
      'the first certificate is that of a CA',
      undefined,
      'put the server’s own certificate first; a self-signed one needs `basicConstraints=CA:FALSE`',
    )
  }
  // Node's `keyUsage` is the extended key usage; absent means any.
  // The type says it is always there; it is undefined where the extension is absent.
  const usage = leaf.keyUsage as readonly string[] | undefined
  if (usage && !usage.includes(SERVER_AUTH)) {
    throw invalid(file, 'it is not for server authentication (extendedKeyUsage `serverAuth`)')
  }
}

function checkDates(leaf: X509Certificate, file: string, now: number): void {
  const { validFromDate: from, validToDate: to } = leaf
  if (from.getTime() <= now && now < to.getTime()) return
  const early = now < from.getTime()
  throw new SallyportError(
    'SP_CONSOLE_CERT_EXPIRED',
    `the certificate \`${file}\` ${early ? 'is not valid yet' : 'has expired'}`,
    {
      detail: `valid from ${from.toISOString()} to ${to.toISOString()}`,
      fix: early ? 'check the clock of this machine' : 'renew it',
    },
  )
}

function checkChain(chain: readonly X509Certificate[], file: string, now: number): void {
  for (const [index, certificate] of chain.entries()) {
    const above = chain[index + 1]
    if (!above) return
    const certified = certificate.checkIssued(above) && certificate.verify(above.publicKey)
    const inDate = above.validFromDate.getTime() <= now && now < above.validToDate.getTime()
    if (certified && above.ca && inDate) continue
    const what = `certificate ${index + 2} (${oneLine(above.subject)})`
    throw new SallyportError('SP_CONSOLE_CERT_CHAIN', `the chain in \`${file}\` does not hold`, {
      detail: certified
        ? `${what} ${above.ca ? 'is not valid now' : 'is not that of a CA'}`
        : `${what} did not certify number ${index + 1} (${oneLine(certificate.subject)})`,
      fix: 'put the server’s own certificate first, then its issuer, then the issuer of that, and nothing else',
    })
  }
}

const oneLine = (name: string): string => name.replaceAll('\n', ', ').slice(0, 200)

function mismatch(
  { certFile, keyFile }: CertificateFiles,
  chain: readonly X509Certificate[],
  key: KeyObject,
): SallyportError {
  const place = chain.findIndex((certificate) => certificate.checkPrivateKey(key))
  return new SallyportError(
    'SP_CONSOLE_KEY_MISMATCH',
    `the key \`${keyFile}\` does not belong to the certificate \`${certFile}\``,
    place > 0
      ? {
          detail: `it belongs to certificate ${place + 1} of the file`,
          fix: 'put that certificate first',
        }
      : { fix: 'name the key that the certificate was issued for' },
  )
}

function invalid(file: string, detail: string, cause?: unknown, fix?: string): SallyportError {
  return new SallyportError('SP_CONSOLE_CERT_INVALID', `\`${file}\` cannot be used`, {
    detail,
    fix: fix ?? 'name a PEM file with a certificate that browsers accept, and one with its key',
    cause,
  })
}
