import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { ControlContext } from '../../domain/context.ts'
import type { Reader } from '../../secrets/access.ts'
import { shownValue, valueFrom } from '../../secrets/kv.ts'
import { actorOf, textOf } from '../route.ts'
import type { ApiCall, Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

const viewer = { role: 'viewer', act: 'read', local: true } as const
// What is written is read by those whom the declaration names, which a quorum has signed.
const keeper = { role: 'admin', act: 'widen', local: true } as const
const path = text(1024)

/** Secrets and leases, for people. Values travel in bodies only, never in addresses. */
export function custodyRoutes({ custody }: ControlContext): Route[] {
  const { leases, rotations, transit, vault } = custody
  return [
    {
      method: 'GET',
      path: '/api/secrets',
      summary:
        'Secrets without their values: all, for whoever manages them; else those that the caller reads',
      access: viewer,
      query: object({ 'prefix?': path }),
      answer: listOf(openObject({ path, current: time, newest: time, at: time })),
      handle: (call) =>
        manages(call)
          ? vault.all(call.query['prefix'])
          : vault.list(readerOf(call), call.query['prefix']),
    },
    {
      method: 'GET',
      path: '/api/secrets/versions',
      summary: 'Versions of a secret without their values, newest first',
      access: { role: 'admin', act: 'read', local: true },
      query: object({ path }),
      answer: listOf(openObject({ version: time, createdAt: time, state: text(16) })),
      handle: ({ query }) => vault.versions(query['path'] ?? ''),
    },
    {
      method: 'POST',
      path: '/api/secrets/read',
      summary: 'The value of a secret that the declaration lets the caller read; recorded',
      access: { role: 'viewer', act: 'widen', local: true },
      body: object({ path, 'version?': time }),
      answer: openObject({ value: any('text'), encoding: choice('utf8', 'base64'), version: time }),
      handle: async (call) =>
        shownValue(
          await vault.read(readerOf(call), textOf(call.body, 'path'), numberIn(call, 'version')),
        ),
    },
    {
      method: 'POST',
      path: '/api/secrets/write',
      summary: 'A new version of a declared secret; with `cas` only where that is the current one',
      access: keeper,
      maxBytes: 131_072,
      body: object({
        path,
        value: text(120_000),
        'encoding?': choice('utf8', 'base64'),
        'cas?': time,
        'keyId?': text(256),
      }),
      answer: object({ version: time }),
      handle: async (call) => {
        const value = valueFrom(textOf(call.body, 'value'), call.body['encoding'])
        const cas = numberIn(call, 'cas')
        const { keyId } = call.body
        const version = await vault.write(actorOf(call), textOf(call.body, 'path'), value, {
          ...(cas === undefined ? {} : { cas }),
          ...(typeof keyId === 'string' ? { keyId } : {}),
        })
        return { version }
      },
    },
    ...(['delete', 'undelete', 'destroy'] as const).map((what): Route => ({
      method: 'POST',
      path: `/api/secrets/${what}`,
      summary: {
        delete: 'Takes versions away from readers; they can be given back',
        undelete: 'Gives deleted versions back',
        destroy: 'Destroys the values of versions for good',
      }[what],
      access: keeper,
      body: object({ path, versions: listOf(time) }),
      answer: object({}),
      handle: async (call) => {
        const versions = listIn(call.body['versions'])
        await vault.mark(actorOf(call), textOf(call.body, 'path'), versions, what)
        return {}
      },
    })),
    {
      method: 'GET',
      path: '/api/secrets/rotations',
      summary: 'Replacements of keys, newest first',
      access: viewer,
      answer: listOf(openObject({ id: text(64), path, step: text(16) })),
      handle: () => rotations.list(),
    },
    {
      method: 'POST',
      path: '/api/secrets/rotate',
      summary:
        'Begins to replace a key; with the new one where its provider gives keys to people only',
      access: keeper,
      body: object({ path, reason: text(256), 'value?': text(65_536) }),
      answer: openObject({ id: text(64), step: text(16) }),
      handle: async (call) => {
        const { value } = call.body
        return rotations.start({
          path: textOf(call.body, 'path'),
          reason: textOf(call.body, 'reason'),
          by: actorOf(call),
          ...(typeof value === 'string' ? { value } : {}),
        })
      },
    },
    {
      method: 'GET',
      path: '/api/leases',
      summary:
        'What instances hold for a time, newest first; with those that have ended where asked for',
      access: viewer,
      query: object({ 'ended?': choice('true', 'false') }),
      answer: listOf(openObject({ id: text(64), holder: text(2048), state: text(16) })),
      handle: ({ query }) => leases.list({ ended: query['ended'] === 'true' }),
    },
    {
      method: 'POST',
      path: '/api/leases/end',
      summary: 'Ends a lease and all below it: their accounts, and the sessions these have open',
      access: { role: 'responder', act: 'narrow', local: true },
      body: object({ lease: text(64), reason: text(256) }),
      answer: object({}),
      handle: async (call) => {
        const reason = `${actorOf(call)}: ${textOf(call.body, 'reason')}`
        await leases.end(textOf(call.body, 'lease'), reason)
        return {}
      },
    },
    {
      method: 'GET',
      path: '/api/transit',
      summary: 'Keys that others use and never see',
      access: viewer,
      answer: listOf(openObject({ name: text(64), newest: time, minDecrypt: time })),
      handle: () => transit.list(),
    },
    {
      method: 'POST',
      path: '/api/transit/rotate',
      summary: 'A new version of a key, for what is encrypted and signed from now on',
      access: keeper,
      body: object({ name: text(64) }),
      answer: object({ version: time }),
      handle: async (call) => ({
        version: await transit.rotate(actorOf(call), textOf(call.body, 'name')),
      }),
    },
    {
      method: 'POST',
      path: '/api/transit/min-version',
      summary: 'The oldest version of a key with which anything still opens',
      access: keeper,
      body: object({ name: text(64), version: time }),
      answer: object({}),
      handle: async (call) => {
        const version = numberIn(call, 'version') ?? 0
        await transit.setMinDecrypt(actorOf(call), textOf(call.body, 'name'), version)
        return {}
      },
    },
    {
      method: 'GET',
      path: '/api/register',
      summary:
        'Every key and certificate, with age, owner, use, expiry and whether it can be copied',
      access: viewer,
      answer: listOf(openObject({ kind: text(16), name: text(2048), owner: text(256) })),
      handle: () => custody.register(),
    },
    {
      method: 'GET',
      path: '/api/databases/grants',
      summary: 'What roles can really do in the databases, against what the declaration gives them',
      access: viewer,
      answer: listOf(openObject({ database: text(256), role: text(256), holder: text(2048) })),
      handle: () => custody.databases.compare(),
    },
    {
      method: 'GET',
      path: '/api/databases/authority',
      summary: 'The certificate that database servers trust their clients by (`ssl_ca_file`)',
      access: viewer,
      answer: object({ certificate: text(8192) }),
      handle: async () => ({ certificate: await custody.databaseClients() }),
    },
  ]
}

function manages({ principal }: ApiCall): boolean {
  return (
    principal.kind === 'local' ||
    (principal.kind === 'operator' && principal.view.roles.includes('admin'))
  )
}

function readerOf({ principal }: ApiCall): Reader {
  if (principal.kind === 'operator') return { kind: 'operator', name: principal.view.operator }
  if (principal.kind === 'local') return { kind: 'local' }
  throw new SallyportError('SP_API_SESSION', 'sign in first')
}

function numberIn({ body }: ApiCall, name: string): number | undefined {
  const value = body[name]
  return typeof value === 'number' ? value : undefined
}

function listIn(value: JsonValue | undefined): number[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'number') : []
}
