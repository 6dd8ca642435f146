import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { canonicalJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import {
  createJwtAuthority,
  issueJwtSvid,
  kindOf,
  TrustBundle,
  writeBundleDocument,
} from '@sallyport/spiffe'
import type { JwtAuthority, VerifiedSvid } from '@sallyport/spiffe'
import type { ControlAudit } from '../access/audit.ts'
import type { Store } from '../store/store.ts'
import type { Trust } from '../trust.ts'

/** What the SPIFFE Workload API hands out as a JWT, and what verifies it. */
export interface JwtSvids {
  /**
   * A JWT-SVID of the caller's own id, which lives five minutes and no longer than the certificate it was asked for with.
   * It is in the audit log before it is handed out.
   *
   * @throws SallyportError `SP_ISSUE_REFUSED`, `SP_JWT_SVID_FLOOD`, `SP_AUDIT_UNAVAILABLE`, `SP_STORE_UNAVAILABLE`
   */
  issue(
    caller: VerifiedSvid,
    audience: readonly string[],
  ): Promise<{ readonly spiffeId: string; readonly token: string; readonly expiresAt: number }>
  /** The bundle document (JWKS) of all keys that tokens in circulation may be signed with. */
  bundle(): Promise<string>
}

const TTL_SECONDS = 300
/** A key signs for a day; a process that runs longer makes the next one. */
const LIFE_MS = 24 * 3_600_000
/** No token is signed so close to the end that it could outlive its key. */
const REST_MS = 2 * TTL_SECONDS * 1000
/** The next key is published so long before it signs, so that whoever asks for bundles now and then knows it by then. */
const AHEAD_MS = 10 * 60_000
const WINDOW_MS = 60_000
const MAX_IN_WINDOW = 300

interface Held {
  readonly authority: JwtAuthority
  readonly until: number
}

export function createJwtSvids(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly audit: () => Promise<ControlAudit>
}): JwtSvids {
  const { store, clock, trust } = deps
  const { trustDomain } = trust.pins
  const rate = createRate(clock)
  let current: Promise<Held> | undefined
  let next: Promise<Held> | undefined

  async function make(): Promise<Held> {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const authority = createJwtAuthority(trustDomain, {
      publicKey,
      sign: (data) => sign('sha256', data, privateKey),
    })
    const key = publicKey.export({ format: 'der', type: 'spki' }).toString('base64url')
    const entry = { kid: authority.kid, key, notAfter: clock.now() + LIFE_MS }
    const signature = trust.bundle.sign(keyText(entry)).toString('base64url')
    await store.transaction(async (tx) => {
      await tx.deleteFrom('jwt_svid_keys').where('not_after', '<=', clock.now()).execute()
      await tx
        .insertInto('jwt_svid_keys')
        .values({ kid: entry.kid, key, not_after: entry.notAfter, signature })
        .execute()
    })
    return { authority, until: entry.notAfter - REST_MS }
  }

  /** The key to sign with now; its successor is prepared in time and activated when it is due. */
  async function authority(): Promise<JwtAuthority> {
    current ??= make()
    let held: Held
    try {
      held = await current
    } catch (error) {
      // The next request tries again.
      current = undefined
      throw error
    }
    const left = held.until - clock.now()
    if (left <= AHEAD_MS && !next) {
      next = make()
      next.catch(() => {
        next = undefined
      })
    }
    if (left > 0) return held.authority
    current = next
    next = undefined
    return authority()
  }

  return {
    async issue(caller, audience) {
      const spiffeId = caller.id.uri
      rate(spiffeId)
      const now = clock.now()
      const svid = await issueJwtSvid(await authority(), {
        spiffeId,
        audience,
        ttlSeconds: Math.min(TTL_SECONDS, (caller.notAfter - now) / 1000),
        now,
      })
      const audit = await deps.audit()
      const facts = {
        audience: canonicalJson(audience),
        kid: svid.kid,
        expiresAt: svid.expiresAt,
        // Tells tokens apart without being one.
        token: sha256Hex(svid.token),
        serial: caller.serial,
      }
      await audit.append([
        {
          record: {
            ...audit.base(),
            kind: 'event',
            event: 'jwt-svid-issued',
            subject: spiffeId,
            facts,
          },
        },
      ])
      return { spiffeId, token: svid.token, expiresAt: svid.expiresAt }
    },
    async bundle() {
      // So that there is a key to verify with before there is a token.
      await authority()
      const rows = await store.run((db) =>
        db
          .selectFrom('jwt_svid_keys')
          .selectAll()
          .where('not_after', '>', clock.now())
          .orderBy('not_after')
          .orderBy('kid')
          .execute(),
      )
      const keys = rows.flatMap(({ kid, key, not_after: notAfter, signature }) => {
        const text = keyText({ kid, key, notAfter })
        const vouched = verify(
          null,
          text,
          trust.bundle.publicKey,
          Buffer.from(signature, 'base64url'),
        )
        const der = Buffer.from(key, 'base64url')
        return vouched
          ? [
              [
                kid,
                { publicKey: createPublicKey({ key: der, format: 'der', type: 'spki' }) },
              ] as const,
            ]
          : []
      })
      return writeBundleDocument({ bundle: TrustBundle.of(trustDomain, [], new Map(keys)) })
    },
  }
}

/** What the bundle key signs of a key of JWT-SVIDs. */
function keyText(entry: {
  readonly kid: string
  readonly key: string
  readonly notAfter: number
}): Buffer {
  return Buffer.from(canonicalJson({ format: 'sallyport-jwt-svid-key/1', ...entry }))
}

/** So many tokens a minute for each instance, since each is a synced line of the log. */
function createRate(clock: Clock): (spiffeId: string) => void {
  let window = 0
  let counts = new Map<string, number>()
  return (spiffeId) => {
    const now = Math.floor(clock.monotonic() / WINDOW_MS)
    if (now !== window) {
      window = now
      counts = new Map()
    }
    const count = (counts.get(spiffeId) ?? 0) + 1
    counts.set(spiffeId, count)
    if (count > MAX_IN_WINDOW) {
      throw new SallyportError('SP_JWT_SVID_FLOOD', 'too many tokens were asked for in a minute', {
        fix: 'use a token until it expires',
      })
    }
  }
}

/** Whether an identity may have a JWT-SVID: what runs for somebody, and neither gateways nor control planes. */
export function mayHaveJwt({ id }: VerifiedSvid): boolean {
  const kind = kindOf(id)?.kind
  return kind === 'agent' || kind === 'service'
}
