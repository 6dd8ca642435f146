import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { canonicalJson, SallyportError } from '@sallyport/base'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { Publisher } from '../domain/publisher.ts'
import type { Store } from '../store/store.ts'
import type { Clock } from '@sallyport/base'
import type { Access } from './access.ts'
import { only, readAction, readPage, readResource, readSubject } from './request.ts'
import type { Members, Question } from './request.ts'

/** Candidates that one page looks at, at most: a page may come back short, or empty with a next token. */
const MAX_CANDIDATES = 500
const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
/** A SPIFFE id has at most 2048 bytes; every other name is shorter. */
const TOKEN_BYTES = 2050

interface Found<T> {
  readonly results: readonly T[]
  readonly page: { readonly next_token: string; readonly count: number }
}

type Entity = { readonly type: string; readonly id: string }

/** Searches (AuthZEN 1.0, sections 8 to 10) over what is declared and, for instances, enrolled. */
export class Searches {
  readonly #access: Access
  readonly #publisher: Publisher
  readonly #store: Store
  readonly #clock: Clock
  /** Tokens end with the process: they are of this decision point alone. */
  readonly #key = randomBytes(32)

  constructor(deps: {
    readonly access: Access
    readonly publisher: Publisher
    readonly store: Store
    readonly clock: Clock
  }) {
    this.#access = deps.access
    this.#publisher = deps.publisher
    this.#store = deps.store
    this.#clock = deps.clock
  }

  /** Which agents, or enrolled instances, may do this to that system. */
  async subjects(caller: VerifiedSvid | undefined, body: Members): Promise<Found<Entity>> {
    only(body, ['subject', 'action', 'resource', 'context', 'page'], 'the request')
    const { type } = readSubject(body['subject'], true)
    const action = readAction(body['action'])
    const resource = readResource(body['resource'])
    const facts = { what: 'subject', type, system: resource.id, operation: action.name }
    return this.#page(caller, body, facts, ['subject', type, action, resource], {
      candidates: async (after) => {
        const ids = type === 'instance' ? await this.#instances(after) : this.#agents(type, after)
        return ids.map((id) => ({ subject: { type, id }, action, resource }))
      },
      keyOf: ({ subject }) => subject.id,
      resultOf: ({ subject }) => subject,
    })
  }

  /** To which of the systems that the caller fronts this subject may do this. */
  async resources(caller: VerifiedSvid | undefined, body: Members): Promise<Found<Entity>> {
    only(body, ['subject', 'action', 'resource', 'context', 'page'], 'the request')
    const subject = readSubject(body['subject'])
    const action = readAction(body['action'])
    const { type } = readResource(body['resource'], true)
    const facts = { what: 'resource', type, subject: subject.id, operation: action.name }
    return this.#page(caller, body, facts, ['resource', type, action, subject], {
      candidates: (after, systems) =>
        later(type === 'system' ? systems : [], after).map((id) => ({
          subject,
          action,
          resource: { type, id },
        })),
      keyOf: ({ resource }) => resource.id,
      resultOf: ({ resource }) => resource,
    })
  }

  /** Which operations that need no input this subject may call. */
  async actions(
    caller: VerifiedSvid | undefined,
    body: Members,
  ): Promise<Found<{ readonly name: string }>> {
    only(body, ['subject', 'resource', 'context', 'page'], 'the request')
    const subject = readSubject(body['subject'])
    const resource = readResource(body['resource'])
    const facts = { what: 'action', subject: subject.id, system: resource.id }
    return this.#page(caller, body, facts, ['action', subject, resource], {
      candidates: (after, systems) => {
        const fronted = resource.type === 'system' && systems.includes(resource.id)
        const system = fronted ? this.#publisher.index().findSystem(resource.id) : undefined
        const names = (system?.operations ?? []).map(({ name }) => name)
        return later(names, after).map((name) => ({
          subject,
          action: { name, properties: {} },
          resource,
        }))
      },
      keyOf: ({ action }) => action.name,
      resultOf: ({ action }) => ({ name: action.name }),
    })
  }

  async #page<T>(
    caller: VerifiedSvid | undefined,
    body: Members,
    facts: Readonly<Record<string, string>>,
    query: unknown,
    over: {
      readonly candidates: (
        after: string,
        systems: readonly string[],
      ) => Promise<readonly Question[]> | readonly Question[]
      readonly keyOf: (question: Question) => string
      readonly resultOf: (question: Question) => T
    },
  ): Promise<Found<T>> {
    const { token, limit } = readPage(body['page'])
    const bound = canonicalJson([
      query,
      caller?.id.uri,
      this.#publisher.current().bundle.declarationDigest,
    ])
    const after = token === '' ? '' : this.#open(token, bound)
    const short = Object.fromEntries(
      Object.entries(facts).map(([name, value]) => [name, value.slice(0, 256).toWellFormed()]),
    )
    let more = false
    const { questions, allowed } = await this.#access.search(
      caller,
      short,
      async (_decider, { systems }) => {
        const all = await over.candidates(after, [...systems].toSorted())
        more = all.length > MAX_CANDIDATES
        return all.slice(0, MAX_CANDIDATES)
      },
    )
    const results: T[] = []
    let last = ''
    for (const [i, question] of questions.entries()) {
      if (results.length === limit) {
        more = true
        break
      }
      last = over.keyOf(question)
      if (allowed[i] === true) results.push(over.resultOf(question))
    }
    const next = more ? this.#seal(last, bound) : ''
    return { results, page: { next_token: next, count: results.length } }
  }

  #agents(type: string, after: string): string[] {
    if (type !== 'agent') return []
    return later(
      this.#publisher.index().network.agents.map(({ name }) => name),
      after,
    )
  }

  /** Ids are ASCII; compared by bytes, as the order here is. */
  #instances(after: string): Promise<string[]> {
    return this.#store.run(async (db) => {
      const rows = await db
        .selectFrom('instances')
        .select('spiffe_id')
        .where('kind', '=', 'agent')
        .where('not_after', '>', this.#clock.now())
        .where((eb) =>
          eb(eb.fn('convert_to', ['spiffe_id', eb.val('UTF8')]), '>', Buffer.from(after)),
        )
        .orderBy((eb) => eb.fn('convert_to', ['spiffe_id', eb.val('UTF8')]))
        .limit(MAX_CANDIDATES + 1)
        .execute()
      return rows.map(({ spiffe_id }) => spiffe_id)
    })
  }

  /** Sealed: the place to go on from may be the name of one who was not found. */
  #seal(after: string, bound: string): string {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv(CIPHER, this.#key, nonce)
    cipher.setAAD(Buffer.from(bound))
    // Of one length, whatever the name.
    const text = Buffer.alloc(TOKEN_BYTES)
    text.writeUInt16BE(text.write(after, 2))
    const sealed = [nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]
    return Buffer.concat(sealed).toString('base64url')
  }

  /** @throws SallyportError `SP_PAGE_TOKEN` for what was not given out here for this very search */
  #open(token: string, bound: string): string {
    const bytes = Buffer.from(token, 'base64url')
    try {
      if (bytes.length !== NONCE_BYTES + TOKEN_BYTES + TAG_BYTES) throw new RangeError('length')
      const decipher = createDecipheriv(CIPHER, this.#key, bytes.subarray(0, NONCE_BYTES))
      decipher.setAAD(Buffer.from(bound))
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
      const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES))
      decipher.final()
      return text.toString('utf8', 2, 2 + text.readUInt16BE())
    } catch (cause) {
      throw new SallyportError('SP_PAGE_TOKEN', 'the page token is not of this search', {
        fix: 'begin the search anew, without a token',
        cause,
      })
    }
  }
}

/** Names after one, in the order of their bytes. */
function later(names: readonly string[], after: string): string[] {
  return names.filter((name) => name > after).toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
}
