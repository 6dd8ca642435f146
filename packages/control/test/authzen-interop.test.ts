/**
 * The decisions of the AuthZEN interop scenario "Todo" (OpenID AuthZEN working group, authzen-todo-backend, MIT), asked of
 * our decision point over mTLS, and the JSON schemas that the working group publishes for a request and a response.
 *
 * The scenario's users are agents here, its operations those of one system; `ownerID` travels as an input of the operation,
 * because what a caller says about a resource is not read.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { Declaration, Operation } from '@sallyport/network'
import { bank, send, service } from './support/authzen.ts'
import { TestPlane } from './support/network.ts'

const DATA = join(process.env['SALLYPORT_DATA'] ?? '../shared/data', 'authzen')
const DECISIONS = join(
  DATA,
  'interop/authzen-todo-backend/test/decisions-authorization-api-1_0-02.json',
)
const skip = existsSync(DECISIONS) ? false : 'no AuthZEN material: set SALLYPORT_DATA'

/** The scenario's identities → agent, its e-mail address and its roles, as the scenario's description gives them. */
const USERS: Readonly<Record<string, readonly [string, string, readonly string[]]>> = {
  CiRmZDA2: ['rick', 'rick@the-citadel.com', ['admin', 'evil-genius']],
  CiRmZDE2: ['morty', 'morty@the-citadel.com', ['editor']],
  CiRmZDI2: ['summer', 'summer@the-smiths.com', ['editor']],
  CiRmZDM2: ['beth', 'beth@the-smiths.com', ['viewer']],
  CiRmZDQ2: ['jerry', 'jerry@the-smiths.com', ['viewer']],
}
const OPERATIONS = [
  'can_read_user',
  'can_read_todos',
  'can_create_todo',
  'can_update_todo',
  'can_delete_todo',
]

interface Entity {
  readonly type: string
  readonly id: string
  readonly properties?: { readonly ownerID?: string }
}
interface Request {
  readonly subject: Entity
  readonly action: { readonly name: string }
  readonly resource: Entity
}
interface Case {
  readonly request: Request
  readonly expected: boolean
}
interface Boxcar {
  readonly request: Omit<Request, 'resource'> & {
    readonly evaluations: readonly Partial<Request>[]
  }
  readonly expected: readonly { readonly decision: boolean }[]
}

function todo(): Declaration {
  const base = bank()
  const text = { schema: { type: 'string', maxLength: 256 }, required: false } as const
  const operations = OPERATIONS.map((name): Operation => ({
    name,
    description: name,
    kind: name.startsWith('can_read') ? 'read' : 'write',
    binding: {
      kind: 'http',
      method: 'POST',
      path: `/${name}`,
      parameters: { id: 'body', ownerID: 'body' },
    },
    input: { type: 'record', members: { id: text, ownerID: text } },
    returns: { ok: 'public' },
  }))
  const own = (role: string, email: string, name: string): Declaration['policies'][number] => ({
    id: `own-${role}-${name}`,
    file: 'todo.cedar',
    line: 1,
    source: `permit (principal in Agent::"${name}", action in [Action::"todo.can_update_todo", Action::"todo.can_delete_todo"], resource)
      when { principal in Role::"${role}" && context.input has ownerID && context.input.ownerID == "${email}" };`,
  })
  const policy = (id: string, source: string): Declaration['policies'][number] => ({
    ...{ id, file: 'todo.cedar', line: 1 },
    source,
  })
  const users = Object.values(USERS)
  return {
    network: {
      ...base.network,
      agents: users.map(([name, , roles]) => ({
        ...{ name, description: name, owner: 'smith', segment: 'aml', criticality: 'low' as const },
        roles,
      })),
      systems: [
        {
          ...{ name: 'todo', description: 'todo', owner: 'smith', segment: 'aml' },
          ...{ criticality: 'low' as const, protocol: 'http' as const, operations },
          upstream: { kind: 'service', service: 'ledger', port: 7000 },
        },
      ],
      services: [
        service('ledger'),
        service('app', { systems: ['todo'], can: ['body', 'project', 'label', 'outcome'] }),
      ],
      datasets: [],
      limits: [],
      flows: users.map(([name]) => ({
        ...{ id: `${name}-todo`, from: name, to: 'todo', operations: OPERATIONS, purpose: 'todo' },
      })),
    },
    policies: [
      policy('reads', 'permit (principal, action in Action::"read", resource);'),
      policy(
        'creates',
        'permit (principal, action == Action::"todo.can_create_todo", resource) when { principal in Role::"admin" || principal in Role::"editor" };',
      ),
      policy(
        'evil-genius',
        'permit (principal in Role::"evil-genius", action == Action::"todo.can_update_todo", resource);',
      ),
      policy(
        'admin-deletes',
        'permit (principal in Role::"admin", action == Action::"todo.can_delete_todo", resource);',
      ),
      ...users.map(([name, email]) => own('editor', email, name)),
    ],
  }
}

/** The one mapping: whose request it is, and where the owner of the todo travels. */
function translate({ subject, action, resource }: Request): Request {
  const [name] = USERS[subject.id.slice(0, 8)] ?? []
  assert.ok(name)
  const { id, properties } = resource
  const input = { id, ...(properties?.ownerID && { ownerID: properties.ownerID }) }
  const asked = { ...action, properties: input }
  return {
    subject: { type: 'agent', id: name },
    action: asked,
    resource: { type: 'system', id: 'todo' },
  }
}

test(
  'the interop decisions of the todo scenario, and the published schemas',
  { skip },
  async (t) => {
    const plane = await TestPlane.start(todo())
    t.after(() => plane.close())
    const app = await plane.enrol('service', 'app')
    const schema = (name: string) => {
      const text = readFileSync(join(DATA, `api/schemas/${name}.schema.json`), 'utf8')
      return new Ajv2020({ strict: false }).compile(JSON.parse(text) as object)
    }
    const isRequest = schema('evaluation-request')
    const isResponse = schema('evaluation-response')
    const given = JSON.parse(readFileSync(DECISIONS, 'utf8')) as {
      evaluation: readonly Case[]
      evaluations: readonly Boxcar[]
    }
    assert.deepEqual([given.evaluation.length, given.evaluations.length], [40, 3])
    for (const { request, expected } of given.evaluation) {
      const asked = translate(request)
      assert.ok(isRequest(request) && isRequest(asked))
      const { status, body, text } = await send(app, '/access/v1/evaluation', asked)
      assert.equal(status, 200, text)
      assert.ok(isResponse(body), text)
      assert.equal(body['decision'], expected, JSON.stringify(request))
    }
    for (const { request, expected } of given.evaluations) {
      const { evaluations, ...rest } = request
      // Each entry of this scenario brings its own resource and nothing else.
      const asked = evaluations.map((entry) => translate({ ...rest, ...entry } as Request))
      const top = { subject: asked[0]?.subject, resource: asked[0]?.resource }
      const entries = asked.map(({ action }) => ({ action }))
      const { body } = await send(app, '/access/v1/evaluations', { ...top, evaluations: entries })
      const answers = body['evaluations'] as readonly { decision: boolean }[]
      assert.ok(answers.every((answer) => isResponse(answer)))
      assert.deepEqual(
        answers.map(({ decision }) => ({ decision })),
        expected,
      )
    }
  },
)
