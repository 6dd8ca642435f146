import { cookieName } from './guard.ts'
import type { Route } from './route.ts'
import type { Schema } from './schema.ts'

const problem: Schema = {
  type: 'object',
  properties: {
    type: { type: 'string', maxLength: 256 },
    title: { type: 'string', maxLength: 1024 },
    status: { type: 'integer', minimum: 400, maximum: 599 },
    code: { type: 'string', maxLength: 64, pattern: '^SP_[A-Z0-9_]+$' },
    detail: { type: 'string', maxLength: 4096 },
    fix: { type: 'string', maxLength: 1024 },
  },
  required: ['type', 'title', 'status', 'code'],
  additionalProperties: true,
}

/** The OpenAPI 3.1 document of exactly the routes that are dispatched. */
export function openApi(routes: readonly Route[], origin: string): unknown {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    paths[route.path] ??= {}
    const item = paths[route.path] ?? {}
    item[route.method.toLowerCase()] = operation(route)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport operator API',
      version: '0.1.0',
      description:
        'Sessions are cookies; calls that change something carry the header X-Sallyport-CSRF with the token of GET /api/session. ' +
        'Operations marked x-sallyport-local are also answered on the admin socket, without a session.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: origin }],
    paths,
    components: {
      securitySchemes: {
        session: { type: 'apiKey', in: 'cookie', name: cookieName(origin) },
        csrf: { type: 'apiKey', in: 'header', name: 'X-Sallyport-CSRF' },
      },
      schemas: { Problem: problem },
    },
  }
}

function operation(route: Route): unknown {
  const { access, answer, body, method, path, query, summary } = route
  const anyone = access.role === 'anyone'
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name)
  const parameters = [
    ...names.map((name) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string', maxLength: 256 },
    })),
    ...Object.entries(query?.properties ?? {}).map(([name, schema]) => ({
      name,
      in: 'query',
      required: query?.required.includes(name) === true,
      schema,
    })),
  ]
  const type = 'stream' in route ? 'text/event-stream' : 'application/json'
  return {
    operationId: operationId(method, path),
    summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body
      ? { requestBody: { required: true, content: { 'application/json': { schema: body } } } }
      : {}),
    responses: {
      '200': { description: 'done', content: { [type]: { schema: answer } } },
      default: {
        description: 'refused or failed',
        content: {
          'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
        },
      },
    },
    security: anyone ? [] : [{ session: [], ...(method === 'POST' ? { csrf: [] } : {}) }],
    'x-sallyport-role': access.role,
    'x-sallyport-act': access.act,
    'x-sallyport-local': access.local === true,
  }
}

/** `POST /api/approvals/{id}/decide` → `postApprovalsIdDecide`. */
function operationId(method: string, path: string): string {
  const words = path.replace('/api/', '').match(/[A-Za-z]+/g) ?? []
  const capitals = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1))
  return method.toLowerCase() + capitals.join('')
}
