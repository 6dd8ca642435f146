import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { isAgent, isGateway } from '../domain/delegating.ts'
import type { MandateHop, Mandates } from '../domain/mandates.ts'
import { booleanIn, malformed, readBody, readObject, sendJson, textIn } from './answer.ts'
import type { PlaneRoute } from './routes.ts'

const SMALL = 16_384
const CHAIN = 65_536
const ID = /^mdt_[A-Za-z0-9_-]{43}$/
const MAX_HOPS = 5

/** Mandates, for gateways that verify and count them and for agents that pass them on. */
export function mandateRoutes(mandates: Mandates): PlaneRoute[] {
  return [
    {
      method: 'GET',
      path: /^\/v1\/mandates\/mdt_[A-Za-z0-9_-]{43}$/,
      who: 'anyone',
      async handle({ response, url, caller }) {
        const by = caller?.id.uri ?? ''
        const chain = await mandates.chain(idIn(url), isGateway(by) ? undefined : agentOf(by))
        if (!chain) throw new SallyportError('SP_MANDATE_UNKNOWN', 'there is no such mandate')
        sendJson(response, { chain })
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/mandates\/reserve$/,
      who: 'gateway',
      async handle({ request, response }) {
        const body = await readBody(request, SMALL, ['decisionId', 'hops'])
        const decisionId = textIn(body, 'decisionId')
        sendJson(response, await mandates.reserve(decisionId, hopsIn(body['hops'])))
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/mandates\/settle$/,
      who: 'gateway',
      async handle({ request, response }) {
        const body = await readBody(request, SMALL, ['decisionId', 'commit'])
        await mandates.settle(textIn(body, 'decisionId'), booleanIn(body, 'commit'))
        sendJson(response, {})
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/mandates$/,
      who: 'anyone',
      async handle({ request, response, caller, recheck }) {
        const instance = agentOf(caller?.id.uri)
        const body = await readObject(request, { maxBytes: CHAIN, maxDepth: 16 })
        recheck()
        if (Object.keys(body).join() !== 'chain') throw malformed('it takes `chain` and no more')
        sendJson(response, await mandates.register(instance, body['chain']))
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/mandates\/mdt_[A-Za-z0-9_-]{43}\/revoke$/,
      who: 'anyone',
      async handle({ request, response, url, caller, recheck }) {
        const by = agentOf(caller?.id.uri)
        const body = await readBody(request, SMALL, ['reason'])
        recheck()
        const { id } = await mandates.revoke({ id: idIn(url), reason: textIn(body, 'reason'), by })
        sendJson(response, { id })
      },
    },
  ]
}

function idIn(url: URL): string {
  const id = url.pathname.split('/')[3] ?? ''
  if (ID.test(id)) return id
  throw new SallyportError('SP_MANDATE_UNKNOWN', 'there is no such mandate')
}

function agentOf(spiffeId: string | undefined): string {
  if (spiffeId !== undefined && isAgent(spiffeId)) return spiffeId
  throw new SallyportError('SP_PLANE_KIND', 'this identity may not make this call')
}

function hopsIn(value: JsonValue | undefined): readonly MandateHop[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_HOPS) {
    throw malformed('`hops` is no list of one to five')
  }
  return value.map((hop) => {
    if (typeof hop !== 'object' || hop === null || Array.isArray(hop)) {
      throw malformed('a hop is not an object')
    }
    const known = ['id', 'uses', 'issuedAt', 'expiresAt', 'grant', 'amount', 'total']
    if (Object.keys(hop).some((name) => !known.includes(name))) {
      throw malformed('a hop has a member that this call does not take')
    }
    // Narrowed to a JSON object.
    const members = hop as Readonly<Record<string, JsonValue>>
    const number = (name: string): number => {
      const given = members[name]
      if (typeof given === 'number' && Number.isSafeInteger(given) && given >= 0) return given
      throw malformed(`\`${name}\` of a hop is no integer from 0`)
    }
    const id = members['id']
    if (typeof id !== 'string' || !ID.test(id)) throw malformed('`id` of a hop is no mandate')
    const grant = number('grant')
    if (grant > 1000) throw malformed('`grant` of a hop is too large')
    return {
      id,
      uses: number('uses'),
      issuedAt: number('issuedAt'),
      expiresAt: number('expiresAt'),
      grant,
      amount: number('amount'),
      ...(members['total'] === undefined ? {} : { total: number('total') }),
    }
  })
}
