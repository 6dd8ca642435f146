import { join } from 'node:path'
import { errorCode, sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { foreignAgentEnds, foreignMaxAgeMs, isOfForeignAgent } from '@sallyport/network'
import type { Federation, ForeignAgent, Network } from '@sallyport/network'
import type { TrustBundle, VerifiedSvid } from '@sallyport/spiffe'
import { createForeigners, federationFolder } from '@sallyport/transport'
import type { Foreigners } from '@sallyport/transport'
import { Refusal } from '../refusal.ts'

export interface ForeignOptions {
  readonly dataDir: string
  readonly clock: Clock
  /** Another bundle is held of a trust domain, or none any more. @param gone SHA-256 of roots that count no longer, hex */
  onChange(trustDomain: string, roots: number, gone: readonly string[]): void
  /** @param code why a bundle was not taken */
  onFailure(trustDomain: string, code: string): void
}

const NONE: ReadonlyMap<string, TrustBundle> = new Map()

const refusal = (code: string, message: string, detail: string, status = 401): Refusal =>
  new Refusal(code, message, { status, close: true, detail })

/**
 * Callers of other trust domains. Operators sign which there are, and what pins the endpoint of each bundle; what that endpoint
 * publishes afterwards the gateway fetches by itself, so that no control plane comes between.
 */
export class ForeignTrust {
  readonly #options: ForeignOptions
  readonly #domains: Foreigners
  #declared: ReadonlyMap<string, Federation> = new Map()
  /** SHA-256 of each root that counts, by trust domain. */
  readonly #roots = new Map<string, ReadonlySet<string>>()

  constructor(options: ForeignOptions) {
    this.#options = options
    this.#domains = createForeigners({
      store: federationFolder(join(options.dataDir, 'federation')),
      clock: options.clock,
      onError: (error, trustDomain) => {
        options.onFailure(trustDomain, errorCode(error))
      },
      onChange: (trustDomain, before, after) => {
        const roots = rootsOf(after)
        this.#roots.set(trustDomain, roots)
        options.onChange(trustDomain, roots.size, [...rootsOf(before).difference(roots)])
      },
    })
  }

  /** Takes over what a declaration says of other trust domains; those without agents concern nobody here. */
  declare({ federation = [] }: Network): void {
    const wanted = federation.filter(({ agents }) => agents !== undefined && agents.length > 0)
    this.#declared = new Map(wanted.map((one) => [one.trustDomain, one]))
    this.#domains.declare(wanted)
  }

  /** What certificates of other trust domains are verified by: each by its own domain's and no other. */
  bundles(): ReadonlyMap<string, TrustBundle> {
    return this.#declared.size === 0 ? NONE : this.#domains.bundles()
  }

  /**
   * The declared agent behind a verified certificate of another trust domain.
   *
   * @throws Refusal `SP_FOREIGN_AGENT`, `SP_FOREIGN_ENDED`, `SP_FOREIGN_STALE`, `SP_SVID_UNTRUSTED`
   */
  check(svid: VerifiedSvid): ForeignAgent {
    const { id } = svid
    const domain = this.#declared.get(id.trustDomain)
    const agent = domain?.agents?.find((one) => isOfForeignAgent(one, id))
    if (!domain || !agent) {
      throw refusal('SP_FOREIGN_AGENT', 'the caller is not declared here', id.uri)
    }
    // Written so that an end that is no number has passed.
    if (!(this.#options.clock.now() < foreignAgentEnds(agent))) {
      throw refusal('SP_FOREIGN_ENDED', 'the caller may no longer call', `until ${agent.until}`)
    }
    // It was verified when the connection began; its root may have been taken back since.
    if (this.#roots.get(id.trustDomain)?.has(svid.root) !== true) {
      throw refusal('SP_SVID_UNTRUSTED', 'the certificate is not trusted', 'its root is gone')
    }
    const age = this.#domains.ageMs(id.trustDomain)
    // Written so that an age that is no number is too old.
    if (!(age <= foreignMaxAgeMs(domain))) {
      const seconds = Math.round(age / 1000)
      const detail = `the bundle of ${id.trustDomain} is ${seconds} s old`
      throw refusal('SP_FOREIGN_STALE', 'what vouches for the caller is too old', detail, 503)
    }
    return agent
  }

  close(): void {
    this.#domains.stop()
  }
}

const rootsOf = (bundle: TrustBundle | undefined): ReadonlySet<string> =>
  new Set((bundle?.authorities ?? []).map(({ raw }) => sha256Hex(raw)))
