import { checkMemberName, isObject } from './input-type.ts'
import { MCP_LOG_LEVELS, MCP_SERVICES } from './mcp-types.ts'
import type { McpFeatureBinding, McpService } from './mcp-types.ts'
import { Halt } from './problem.ts'
import { isAmbiguous, MAX_URI, readUriTemplate } from './uri-template.ts'
import type { InputSchema, InputType } from './types.ts'

type Listed = Readonly<Record<string, unknown>>
type Pin = { readonly pin?: string }

interface Feature {
  readonly description: string
  readonly binding: McpFeatureBinding
  readonly input: InputSchema
}

const MAX_ARGUMENT = 4096
const MAX_ARGUMENTS = 64

const text = (maxLength: number, values?: readonly string[]): InputType => ({
  type: 'string',
  maxLength,
  ...(values && { enum: values }),
})

function record(
  members: Readonly<Record<string, InputType>>,
  optional: readonly string[] = [],
): InputSchema {
  return {
    type: 'record',
    members: Object.fromEntries(
      Object.entries(members).map(([name, schema]) => [
        name,
        { schema, required: !optional.includes(name) },
      ]),
    ),
  }
}

const words = (value: unknown): string => (typeof value === 'string' ? value : '')

/** A resource, or a template of such: its input is the URI and what the template's variables stand for. */
export function mcpResource(listed: Listed, pin: Pin): Feature {
  const { name, title, description, mimeType, uri, uriTemplate } = listed
  const template = typeof uriTemplate === 'string'
  const of = template ? uriTemplate : words(uri)
  if (template && isAmbiguous(of)) {
    throw new Halt(
      'SP_NETWORK_URI_TEMPLATE',
      `\`${of.slice(0, 120)}\` can be read in two ways`,
      'the gateway and the server could find different values in one URI, and policies would decide on others than are used',
      'leave it out, or have the server put a character between its variables that no value contains: `/`, but `?` beside a `{+name}`',
    )
  }
  const read = template || !/[{}]/.test(of) ? readUriTemplate(of) : undefined
  if (!read) {
    throw refuse(
      `\`${of.slice(0, 120)}\` is no URI that can be matched`,
      'use a URI with a scheme; of RFC 6570, `{name}` and `{+name}` with each name once',
    )
  }
  for (const variable of read.variables) checkMemberName(variable, of)
  if (read.variables.includes('uri')) {
    throw refuse('a variable cannot be called `uri`', 'the whole URI has that name; choose another')
  }
  return {
    description: words(description),
    binding: {
      kind: 'mcp-resource',
      uri: of,
      template,
      name: words(name) || of,
      ...(typeof title === 'string' && { title }),
      ...(typeof mimeType === 'string' && { mimeType }),
      ...pin,
    },
    input: record({
      uri: template ? text(MAX_URI) : text(MAX_URI, [of]),
      ...Object.fromEntries(read.variables.map((variable) => [variable, text(MAX_URI)])),
    }),
  }
}

/** Arguments of prompts are texts (MCP 2025-11-25, server/prompts). */
export function mcpPrompt(listed: Listed, pin: Pin): Feature {
  const { name, title, description, arguments: given = [] } = listed
  if (!Array.isArray(given) || given.length > MAX_ARGUMENTS) {
    throw refuse(`the arguments of \`${words(name)}\` are no list`, 'save what the server lists')
  }
  const args = given.map((one: unknown) => {
    const argument = isObject(one) ? one : {}
    checkMemberName(words(argument['name']), `the prompt \`${words(name)}\``)
    return {
      name: words(argument['name']),
      ...(typeof argument['description'] === 'string' && { description: argument['description'] }),
      required: argument['required'] === true,
    }
  })
  return {
    description: words(description),
    binding: {
      kind: 'mcp-prompt',
      prompt: words(name),
      ...(typeof title === 'string' && { title }),
      arguments: args,
      ...pin,
    },
    input: record(
      Object.fromEntries(args.map((argument) => [argument.name, text(MAX_ARGUMENT)])),
      args.flatMap((argument) => (argument.required ? [] : [argument.name])),
    ),
  }
}

const SERVICES: Readonly<Record<McpService, Omit<Feature, 'binding'>>> = {
  completion: {
    description: 'Suggests values of an argument.',
    input: record({ ref: text(MAX_URI), argument: text(128), value: text(MAX_ARGUMENT) }),
  },
  logging: {
    description: 'Sends what the server logs.',
    input: record({ level: text(16, MCP_LOG_LEVELS) }),
  },
  sampling: {
    description: 'Asks the model of the caller.',
    input: record({ maxTokens: { type: 'long', minimum: 1, maximum: 1_000_000 } }),
  },
  elicitation: {
    description: 'Asks the person behind the caller.',
    input: record({ mode: text(8, ['form', 'url']), host: text(253), url: text(MAX_URI) }, [
      'host',
      'url',
    ]),
  },
}

const PREFIX = 'mcp:'

export const mcpService: {
  readonly names: readonly string[]
  find(name: string): Feature | undefined
} = {
  names: MCP_SERVICES.map((service) => PREFIX + service),
  find: (name) => {
    const service = MCP_SERVICES.find((one) => PREFIX + one === name)
    return service && { ...SERVICES[service], binding: { kind: 'mcp-service', service } }
  },
}

function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_MCP',
    message,
    'a URI that two readers could take for different resources cannot be decided by',
    fix,
  )
}
