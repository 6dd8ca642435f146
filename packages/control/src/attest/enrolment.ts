import { join } from 'node:path'
import { readFile, stat } from 'node:fs/promises'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Identities } from '../domain/identities.ts'
import type { Publisher } from '../domain/publisher.ts'
import type { Enrolled } from '../domain/renewals.ts'
import type { Trust } from '../trust.ts'
import { kubernetesAttestor } from './kubernetes.ts'
import { createNonces } from './nonces.ts'
import type { Nonces } from './nonces.ts'
import { provePossession } from './x509pop.ts'
import type { PopProof } from './x509pop.ts'

/** Enrolment of agents that prove what they are, without a join token. */
export interface AttestedEnrolment {
  readonly nonces: Nonces
  /** @throws SallyportError `SP_ATTESTATION_REFUSED`, `SP_QUARANTINED`, `SP_CSR_INVALID`, `SP_STORE_UNAVAILABLE` */
  byPossession(proof: PopProof): Promise<Enrolled>
  /** @throws SallyportError as `byPossession`, `SP_ATTESTATION_UNAVAILABLE` */
  byServiceAccount(token: string, csr: string): Promise<Enrolled>
}

export function createAttestedEnrolment(deps: {
  readonly dataDir: string
  readonly clock: Clock
  readonly trust: Trust
  readonly publisher: Publisher
  readonly identities: Identities
}): AttestedEnrolment {
  const { clock, publisher, identities } = deps
  const nonces = createNonces(deps)
  const network = () => publisher.index().network
  const kubernetes = kubernetesAttestor({
    reviewerToken: () => secretIn(join(deps.dataDir, 'control', 'kubernetes.token')),
  })
  return {
    nonces,
    byPossession(proof) {
      nonces.check(proof.nonce)
      const evidence = provePossession(proof, network(), clock.now())
      return identities.enrolAttested(evidence, proof.csr, (tx) => nonces.spend(tx, proof.nonce))
    },
    async byServiceAccount(token, csr) {
      return identities.enrolAttested(await kubernetes(token, network(), clock.now()), csr)
    },
  }
}

/** Read each time: what is projected there is replaced every hour. */
async function secretIn(file: string): Promise<string> {
  try {
    if (((await stat(file)).mode & 0o077) !== 0) throw new Error('others can read it')
    const token = (await readFile(file, 'utf8')).trim()
    if (!/^[\x21-\x7e]{1,8192}$/.test(token)) throw new Error('it holds no token')
    return token
  } catch (cause) {
    throw new SallyportError(
      'SP_ATTESTATION_UNAVAILABLE',
      'the attestation cannot be checked now',
      {
        detail: `${file}: ${cause instanceof Error ? cause.message : String(cause)}`,
        fix: 'put a token that may create TokenReviews there, readable to the control plane alone',
        cause,
      },
    )
  }
}
