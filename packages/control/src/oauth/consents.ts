import { randomBytes } from 'node:crypto'
import { canonicalJson, SallyportError, sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Artefacts, AuthorisationServer, ConsentRequest, GivenConsent } from '@sallyport/oauth'
import { parseSpiffeId } from '@sallyport/spiffe'
import type { ConsentStatement, OperatorSet } from '@sallyport/wire'
import type { Acts } from '../domain/acts.ts'
import type { ConsentKey, Consents } from '../domain/consents.ts'
import type { Publisher } from '../domain/publisher.ts'
import { checkSignature } from '../domain/signers.ts'

const TICKET_MS = 10 * 60_000
const KIND = 'ConsentTicket'
/** Whoever may sign in may let an agent act for them: it has no more than the agent's own flows either way. */
export const CONSENT_ROLES: readonly string[] = ['viewer', 'responder', 'approver', 'admin']
const CODES = { statement: 'SP_CONSENT_STATEMENT', role: 'SP_CONSENT_ROLE' }

export interface ConsentDesk extends Consents {
  /** A ticket for the page of a request, to the browser that made it. */
  ticket(uid: string): Promise<string>
}

/** @see Consents */
export function createConsentDesk(deps: {
  readonly artefacts: Artefacts
  readonly clock: Clock
  readonly publisher: Publisher
  readonly acts: Acts
  readonly operatorSet: () => OperatorSet | undefined
  readonly server: () => Promise<AuthorisationServer>
}): ConsentDesk {
  const { artefacts, clock, publisher, server, acts } = deps

  async function find({ id, ticket, operator }: ConsentKey): Promise<{
    request: ConsentRequest
    statement: ConsentStatement
  }> {
    const kept = await artefacts.find({ hash: hashOf(id, ticket) })
    const request =
      kept && kept.consumed === null ? await (await server()).consents.find(id) : undefined
    if (!request) throw unknown()
    const { client, resource, scope, details, redirectUri, refreshSeconds, expiresAt } = request
    return {
      request,
      statement: {
        kind: 'consent',
        subject: `operator:${operator}`,
        ...{ client, resource, scope, details, refreshSeconds, redirectUri, expiresAt },
        // The ticket is used once, and with it the signature.
        nonce: hashOf(id, ticket),
      },
    }
  }

  async function decide(key: ConsentKey, consent?: GivenConsent): Promise<{ redirect: string }> {
    const used = await artefacts.consume(hashOf(key.id, key.ticket), Math.floor(clock.now() / 1000))
    const redirect = used ? await (await server()).consents.decide(key.id, consent) : undefined
    if (redirect === undefined) throw unknown()
    return { redirect }
  }

  return {
    async ticket(uid) {
      const ticket = randomBytes(32).toString('base64url')
      await artefacts.put(
        {
          kind: KIND,
          hash: hashOf(uid, ticket),
          payload: '{}',
          expiresAt: clock.now() + TICKET_MS,
          grant: null,
          alias: null,
        },
        false,
      )
      return ticket
    },
    async view(key) {
      const { request, statement } = await find(key)
      const index = publisher.index()
      const name = parseSpiffeId(request.client).segments[1] ?? ''
      return {
        statement,
        agent: name,
        agentDescription: index.findAgent(name)?.description ?? '',
        system: request.system,
        systemDescription: index.findSystem(request.system)?.description ?? '',
        operations: request.scope.map((name) => {
          const operation = index.findOperation(request.system, name)
          return {
            ...{ name, description: operation?.description ?? '' },
            // What is declared no more is shown as what it could do at worst.
            kind: operation?.kind ?? 'write',
          }
        }),
      }
    },
    async allow({ statement: given, signature, session, ...key }) {
      const { request, statement: expected } = await find(key)
      checkSignature({
        set: deps.operatorSet(),
        operator: key.operator,
        ...{ expected, given, signature },
        roles: CONSENT_ROLES,
        codes: CODES,
      })
      const { subject } = expected
      const signed = canonicalJson({ statement: expected, signatures: [signature] })
      const evidence = { credential: signature.credentialId, session, signed }
      await acts.record(
        'consent-given',
        { operator: key.operator, statement: signed },
        expected.client,
      )
      return decide(key, { subject, request, evidence })
    },
    async refuse(key) {
      await find(key)
      return decide(key)
    },
  }
}

const hashOf = (uid: string, ticket: string): string =>
  sha256Hex(`sallyport oauth ${KIND}\n${uid}\n${ticket}`)

function unknown(): SallyportError {
  return new SallyportError('SP_CONSENT_UNKNOWN', 'there is no such request, or it was decided', {
    fix: 'start again in the program that asked you to sign in',
  })
}
