import type { Clock } from '@sallyport/base'
import { sha256Hex } from '@sallyport/base'
import { errors } from 'oidc-provider'
import type { Adapter } from 'oidc-provider'

/** One artefact, as it is kept: what could be presented again is in it as a hash only. */
export interface KeptArtefact {
  readonly kind: string
  /** SHA-256 hex over kind and id: an id of one kind finds nothing of another. */
  readonly hash: string
  readonly payload: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  /** Everything of one grant ends together. */
  readonly grant: string | null
  /** Another name, hashed likewise. */
  readonly alias: string | null
}

/** Where codes, requests, sessions and used proofs are kept: shared by every process that issues. */
export interface Artefacts {
  /** @returns false where one is there already and `replace` is not asked for */
  put(artefact: KeptArtefact, replace: boolean): Promise<boolean>
  /** What has not expired. */
  find(by: { readonly hash: string } | { readonly alias: string }): Promise<
    | {
        readonly payload: string
        /** Seconds since the epoch. */
        readonly consumed: number | null
      }
    | undefined
  >
  /** Marks it used. @returns false where it was used before, or is not there: of two that race, one wins */
  consume(hash: string, at: number): Promise<boolean>
  remove(hash: string): Promise<void>
  removeGrant(grant: string): Promise<void>
}

/** Without an end of their own, artefacts end after this. */
const DEFAULT_SECONDS = 3600

/**
 * What oidc-provider stores through. Kinds live in name spaces of their own, and no id is stored: whoever reads the database
 * can present nothing of it.
 */
export class ArtefactAdapter implements Adapter {
  readonly #kind: string
  readonly #store: Artefacts
  readonly #clock: Clock

  constructor(kind: string, store: Artefacts, clock: Clock) {
    this.#kind = kind
    this.#store = store
    this.#clock = clock
  }

  async upsert(
    id: string,
    payload: Readonly<Record<string, unknown>>,
    expiresIn: number = DEFAULT_SECONDS,
  ): Promise<void> {
    const { jti: _theId, ...rest } = payload
    const { grantId, uid, userCode } = payload
    const alias = typeof uid === 'string' ? uid : typeof userCode === 'string' ? userCode : null
    const once = this.#kind === 'ReplayDetection'
    const kept = await this.#store.put(
      {
        kind: this.#kind,
        hash: this.#hash(id),
        payload: JSON.stringify(alias === null ? rest : { ...rest, jti: id }),
        expiresAt: this.#clock.now() + expiresIn * 1000,
        grant: typeof grantId === 'string' ? this.#hash(grantId, 'grant') : null,
        alias: alias === null ? null : this.#hash(alias, 'alias'),
      },
      !once,
    )
    // Two that race with one proof or assertion both saw none: the second is the replay.
    if (!kept) throw new errors.InvalidGrant('it was used before')
  }

  async find(id: string): Promise<Record<string, unknown> | undefined> {
    const found = await this.#store.find({ hash: this.#hash(id) })
    return found && { ...read(found), jti: id }
  }

  async findByUid(uid: string): Promise<Record<string, unknown> | undefined> {
    const found = await this.#store.find({ alias: this.#hash(uid, 'alias') })
    return found && read(found)
  }

  findByUserCode(userCode: string): Promise<Record<string, unknown> | undefined> {
    return this.findByUid(userCode)
  }

  async consume(id: string): Promise<void> {
    const at = Math.floor(this.#clock.now() / 1000)
    if (await this.#store.consume(this.#hash(id), at)) return
    throw new errors.InvalidGrant('it was used before')
  }

  destroy(id: string): Promise<void> {
    return this.#store.remove(this.#hash(id))
  }

  revokeByGrantId(grantId: string): Promise<void> {
    return this.#store.removeGrant(this.#hash(grantId, 'grant'))
  }

  #hash(id: string, what = this.#kind): string {
    // A grant has members of several kinds; everything else stays within its own.
    return artefactHash(what === 'alias' ? `${this.#kind} alias` : what, id)
  }
}

/** What an artefact is kept under. */
export function artefactHash(kind: string, id: string): string {
  return sha256Hex(`sallyport oauth ${kind}\n${id}`)
}

/** What a grant and its members are known by. */
export function grantHash(grantId: string): string {
  return artefactHash('grant', grantId)
}

function read({
  payload,
  consumed,
}: {
  readonly payload: string
  readonly consumed: number | null
}): Record<string, unknown> {
  // Written by `upsert` above.
  const value = JSON.parse(payload) as Record<string, unknown>
  return consumed === null ? value : { ...value, consumed }
}
