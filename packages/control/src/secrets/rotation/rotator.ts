import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { RotationCall, RotationRule } from '@sallyport/network'
import { callProvider, listAt, ProviderError, textAt } from './call.ts'

/** What can be done with the keys of a provider. */
export interface Rotator {
  /** Absent where the provider lets only people make keys. */
  readonly create?: (label: string) => Promise<{ readonly value: string; readonly keyId: string }>
  /** Resolves where the provider accepts the key. */
  verify(value: string): Promise<void>
  /** Absent where the provider lets only people end keys. */
  readonly revoke?: (keyId: string, value: string) => Promise<void>
  /** Ids of keys of this label: what a crash left behind. */
  readonly find?: (label: string) => Promise<readonly string[]>
  /** The id of a key that a person has made. */
  readonly idOf?: (value: string) => Promise<string | undefined>
}

/** How a provider’s API is spoken. The calls are those of its documentation. */
interface Api {
  readonly header: string
  readonly scheme?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly create?: RotationCall
  readonly secretAt?: string
  readonly idAt?: string
  readonly verify: RotationCall
  readonly revoke?: RotationCall
  readonly list?: RotationCall
  readonly itemsAt?: string
  readonly labelAt?: string
  /** Where a listed key shows its beginning and end, around `...`. */
  readonly hintAt?: string
}

const SERVICE_ACCOUNTS = '/v1/organization/projects/{projectId}/service_accounts'

/** A key is a service account of one project: made with its key, ended with it. Needs the parameter `projectId`. */
const OPENAI: Api = {
  header: 'authorization',
  scheme: 'Bearer',
  create: { path: SERVICE_ACCOUNTS, body: '{"name":"{label}"}' },
  secretAt: '/api_key/value',
  idAt: '/id',
  verify: { method: 'GET', path: '/v1/models', authorization: 'new' },
  revoke: { method: 'DELETE', path: `${SERVICE_ACCOUNTS}/{id}` },
  list: { method: 'GET', path: `${SERVICE_ACCOUNTS}?limit=100` },
  itemsAt: '/data',
  labelAt: '/name',
}

/** Its Admin API lists and deactivates keys, and makes none: a person does, and gives it to the rotation. */
const ANTHROPIC: Api = {
  header: 'x-api-key',
  headers: { 'anthropic-version': '2023-06-01' },
  idAt: '/id',
  verify: { method: 'GET', path: '/v1/models', authorization: 'new' },
  revoke: { path: '/v1/organizations/api_keys/{id}', body: '{"status":"inactive"}' },
  list: { method: 'GET', path: '/v1/organizations/api_keys?limit=100' },
  itemsAt: '/data',
  hintAt: '/partial_key_hint',
}

/** Personal access tokens are made and ended by people alone. */
const AIRTABLE: Api = {
  header: 'authorization',
  scheme: 'Bearer',
  verify: { method: 'GET', path: '/v0/meta/whoami', authorization: 'new' },
}

const KNOWN = { openai: OPENAI, anthropic: ANTHROPIC, airtable: AIRTABLE } as const

/** @param admin the key that makes and ends keys, read when it is needed */
export function rotatorFor(rule: RotationRule, admin: () => Promise<string>): Rotator {
  const api = rule.kind === 'http' ? declared(rule) : KNOWN[rule.kind]
  const { create, revoke, list, idAt = '' } = api

  const ask = async (
    call: RotationCall,
    words: Readonly<Record<string, string>>,
    key?: string,
  ): Promise<JsonValue> => {
    const { authorization = 'admin' } = call
    const credential = authorization === 'admin' || key === undefined ? await admin() : key
    const value = api.scheme === undefined ? credential : `${api.scheme} ${credential}`
    const all = { ...rule.parameters, ...words }
    return callProvider({
      method: call.method ?? 'POST',
      url: `${rule.url.replace(/\/$/, '')}${filled(call.path, all, encodeURIComponent)}`,
      headers: { ...api.headers, [api.header]: value },
      ...(call.body === undefined ? {} : { body: filled(call.body, all, inString) }),
      ...(rule.ca === undefined ? {} : { ca: rule.ca }),
    })
  }
  const listed = async (): Promise<readonly JsonValue[]> =>
    list ? listAt(await ask(list, {}), api.itemsAt ?? '') : []
  const { labelAt, hintAt } = api
  /** Whether the provider refuses a key; of one whose value is not known any more nothing can be said, and it counts as good. */
  const isRefused = async (value: string): Promise<boolean> => {
    if (value === '') return false
    try {
      await ask(api.verify, {}, value)
      return false
    } catch (error) {
      return error instanceof ProviderError && (error.status === 401 || error.status === 403)
    }
  }

  return {
    ...(create && {
      async create(label) {
        const answer = await ask(create, { label })
        const value = textAt(answer, api.secretAt ?? '')
        const keyId = textAt(answer, idAt)
        if (value === undefined || keyId === undefined) throw unexpected('a new key')
        return { value, keyId }
      },
    }),
    async verify(value) {
      await ask(api.verify, {}, value)
    },
    ...(revoke && {
      async revoke(id, value) {
        try {
          await ask(revoke, { id }, value)
        } catch (error) {
          // Ended before a crash, and not written down: then it is not there any more. A wrong address says the same, so the
          // key itself is tried: one that is still good was not ended.
          if (!isGone(error) || !(await isRefused(value))) throw error
        }
      },
    }),
    ...(list &&
      labelAt !== undefined && {
        find: async (label) =>
          (await listed())
            .filter((item) => textAt(item, labelAt) === label)
            .flatMap((item) => textAt(item, idAt) ?? []),
      }),
    ...(list &&
      hintAt !== undefined && {
        async idOf(value) {
          const fitting = (await listed()).filter((item) => fits(textAt(item, hintAt), value))
          const [only, ...others] = fitting
          // Of two that look alike, none is ended.
          return only === undefined || others.length > 0 ? undefined : textAt(only, idAt)
        },
      }),
  }
}

function declared(rule: RotationRule): Api {
  const { create, secretAt, idAt, verify, revoke, list, itemsAt, labelAt, header } = rule
  if (!create || !verify || !revoke || secretAt === undefined || idAt === undefined) {
    throw new SallyportError('SP_INTERNAL', 'a rotation was declared without its calls')
  }
  return {
    ...(header === undefined ? { header: 'authorization', scheme: 'Bearer' } : { header }),
    ...{ create, secretAt, idAt, revoke },
    verify: { authorization: 'new', ...verify },
    ...(list && itemsAt !== undefined && labelAt !== undefined ? { list, itemsAt, labelAt } : {}),
  }
}

/** Puts words into a template. A word that is not given is a defect of the declaration. */
function filled(
  template: string,
  words: Readonly<Record<string, string>>,
  quote: (word: string) => string,
): string {
  return template.replaceAll(/\{([a-z][A-Za-z0-9]*)\}/g, (_, name: string) => {
    const word = Object.hasOwn(words, name) ? words[name] : undefined
    if (word !== undefined) return quote(word)
    throw new SallyportError('SP_ROTATION_PARAMETER', `the parameter \`${name}\` is missing`, {
      fix: 'declare it under `rotation.parameters`',
    })
  })
}

const inString = (word: string): string => JSON.stringify(word).slice(1, -1)

function fits(hint: string | undefined, value: string): boolean {
  const [start, end, ...more] = hint?.split('...') ?? []
  if (start === undefined || end === undefined || more.length > 0) return false
  return start.length + end.length >= 8 && value.startsWith(start) && value.endsWith(end)
}

const isGone = (error: unknown): boolean =>
  error instanceof ProviderError && (error.status === 404 || error.status === 410)

const unexpected = (what: string): SallyportError =>
  new SallyportError('SP_ROTATION_PROVIDER', `the provider’s answer holds no ${what}`)
