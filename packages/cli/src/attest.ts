import { X509Certificate } from 'node:crypto'
import { chmodSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '@sallyport/base'
import { target } from './address.ts'
import { readGiven } from './files.ts'
import { trustDomainOf } from './handshake.ts'

export interface AttestFlags {
  readonly attest?: string
  readonly control: string
  readonly roots?: string
  readonly out?: string
  readonly tokenFile?: string
  readonly cert?: string
  readonly key?: string
  readonly socket?: string
}

interface Material {
  readonly spiffeId: string
  readonly chainPem: string
  readonly keyPem: string
  readonly rootsPem: string
}

/** What an enrolment left behind. */
export interface AttestedFiles {
  readonly spiffeId: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly chain: string
  readonly key: string
  readonly bundle: string
}

/**
 * Enrols this machine, pod or process as the agent that it proves to be, and writes the SVID as Workload API clients such as
 * spiffe-helper do. No key that was there before is used.
 *
 * @param name the agent that it has to be: another identity is not kept
 * @throws SallyportError `SP_USAGE_OPTION`, `SP_ATTESTATION_*`, `SP_WORKLOAD_DENIED`, and as `enrol`
 */
export async function enrolAttested(name: string, flags: AttestFlags): Promise<AttestedFiles> {
  const folder = needed(flags.out, '--out')
  const { spiffeId, chainPem, keyPem, rootsPem } = await proven(flags)
  if (/^spiffe:\/\/[^/]+\/agent\/([^/]+)\/[^/]+$/.exec(spiffeId)?.[1] !== name) {
    throw new SallyportError('SP_ATTESTATION_REFUSED', `what was proven is not \`${name}\``, {
      detail: `it is ${spiffeId}`,
      fix: 'name the agent that `attest` in network.yaml gives to this machine, pod or process',
    })
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  chmodSync(folder, 0o700)
  return {
    spiffeId,
    expiresAt: new X509Certificate(chainPem).validToDate.getTime(),
    // The key first: whoever sees the certificate finds the key that belongs to it.
    key: put(folder, 'svid_key.pem', keyPem, 0o600),
    bundle: put(folder, 'bundle.pem', rootsPem, 0o644),
    chain: put(folder, 'svid.pem', chainPem, 0o644),
  }
}

async function proven(flags: AttestFlags): Promise<Material> {
  const { enrol, fetchSvid } = await import('@sallyport/agent')
  if (flags.attest === 'unix') return fetchSvid(socketOf(flags.socket))
  const rootsPem = readGiven(needed(flags.roots, '--roots'))
  const proof =
    flags.attest === 'k8s'
      ? { serviceAccountToken: readGiven(needed(flags.tokenFile, '--token-file')).trim() }
      : flags.attest === 'x509pop'
        ? {
            machine: {
              certificatePem: readGiven(needed(flags.cert, '--cert')),
              keyPem: readGiven(needed(flags.key, '--key')),
            },
          }
        : unknownProof(flags.attest)
  const identity = await enrol({
    ...{ planeTarget: target(flags.control), rootsPem, trustDomain: trustDomainOf(rootsPem) },
    ...proof,
  })
  return { spiffeId: identity.spiffeId, ...identity.holder.current() }
}

function socketOf(given = process.env['SPIFFE_ENDPOINT_SOCKET']): string {
  return needed(given, '--socket').replace(/^unix:(?:\/\/)?(?=\/)/, '')
}

function unknownProof(given = ''): never {
  throw new SallyportError('SP_USAGE_OPTION', `\`${given}\` is no way to attest`, {
    fix: 'use `k8s`, `x509pop` or `unix`',
  })
}

function needed(value: string | undefined, option: string): string {
  if (value !== undefined && value !== '') return value
  throw new SallyportError('SP_USAGE_OPTION', `\`--attest\` needs \`${option}\` here`)
}

function put(folder: string, name: string, text: string, mode: number): string {
  const path = join(folder, name)
  const partial = `${path}.partial`
  writeFileSync(partial, text, { mode, flush: true })
  chmodSync(partial, mode)
  renameSync(partial, path)
  return path
}
