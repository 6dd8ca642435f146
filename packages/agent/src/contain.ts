import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'

import { SallyportError } from '@sallyport/base'
import { parseSpiffeId } from '@sallyport/spiffe'
import { IdentityHolder } from '@sallyport/transport'
import type { Target } from '@sallyport/transport'

import { callPlane } from './plane.ts'
import type { JsonObject } from './refused.ts'

/** Files of an SVID as Workload API clients such as spiffe-helper write them. */
interface SvidFiles {
  readonly chain: string
  readonly key: string
  readonly bundle: string
}

/**
 * Cuts an agent off in the name of a service that the declaration makes a responder.
 *
 * @param subject SPIFFE id of an instance, or the name of an agent
 * @throws RefusedError what the control plane answered
 * @throws SallyportError `SP_SVID_*`, `SP_CONNECT_*`, `SP_IDENTITY_MISMATCH`, `SP_USAGE_SVID`
 */
export async function quarantineAs(
  files: SvidFiles,
  control: Target,
  subject: string,
  reason: string,
): Promise<JsonObject> {
  const chainPem = read(files.chain)
  const { trustDomain } = parseSpiffeId(uriOf(chainPem))
  const identity = new IdentityHolder({
    chainPem,
    keyPem: read(files.key),
    rootsPem: read(files.bundle),
    trustDomain,
    notAfter: new X509Certificate(chainPem).validToDate.getTime(),
  })
  const id = subject.startsWith('spiffe://') ? subject : `spiffe://${trustDomain}/agent/${subject}`
  return callPlane(identity, control, 'POST', '/v1/quarantine', { subject: id, reason })
}

function uriOf(chainPem: string): string {
  const names = new X509Certificate(chainPem).subjectAltName ?? ''
  return /^URI:(\S+)$/.exec(names)?.[1] ?? ''
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new SallyportError('SP_USAGE_SVID', `\`${file}\` cannot be read`, {
      cause,
      fix: 'name the files that the Workload API client keeps current',
    })
  }
}
