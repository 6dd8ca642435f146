import type { System } from '@sallyport/network'
import { systemUri } from '@sallyport/oauth/verify'
import { sendJson } from '../edge/answer.ts'
import type { Bundles } from '../state/bundles.ts'
import type { RequestContext } from './context.ts'
import { noOperation } from './http.ts'

/**
 * Protected-resource metadata (RFC 9728): where clients of a system come by tokens. It names one authorisation server, as the
 * signed bundle does, and is told to agents of the network alone, each of what flows declare for it.
 */
export class ResourceMetadata {
  readonly #bundles: Bundles
  readonly #trustDomain: string

  constructor(bundles: Bundles, trustDomain: string) {
    this.#bundles = bundles
    this.#trustDomain = trustDomain
  }

  /** Serves `/.well-known/oauth-protected-resource/SYSTEM`, for MCP with `/mcp` too. @throws Refusal `SP_NO_OPERATION` */
  serve({ request, res, caller, enforced }: RequestContext): void {
    const [, kind, name = '', rest, ...more] = request.target.segments
    const { index } = enforced.decider
    const system = index.findSystem(name)
    const whole = rest === undefined || (rest === 'mcp' && system?.protocol === 'mcp')
    const issuer = this.#bundles.tokens?.issuer ?? enforced.operators?.origin
    if (
      request.method !== 'GET' ||
      request.target.query.size > 0 ||
      kind !== 'oauth-protected-resource' ||
      more.length > 0 ||
      !whole ||
      !system ||
      issuer === undefined
    ) {
      throw noOperation()
    }
    const operations = this.#operations(system, caller.agent, enforced)
    sendJson(res, {
      status: 200,
      body: JSON.stringify({
        resource: systemUri(this.#trustDomain, system.name),
        resource_name: system.description,
        authorization_servers: [issuer],
        scopes_supported: operations,
        bearer_methods_supported: ['header'],
        dpop_signing_alg_values_supported: ['ES256', 'EdDSA'],
        authorization_details_types_supported: ['payment'],
      }),
    })
  }

  #operations(system: System, agent: string, { decider }: RequestContext['enforced']): string[] {
    return system.operations
      .map(({ name }) => name)
      .filter((name) => decider.index.findFlow(agent, system.name, name) !== undefined)
  }
}
