/** What the server of the MCP conformance suite lists: the declaration reads the very same. */
interface Tool {
  readonly name: string
  readonly description: string
  readonly inputSchema: {
    readonly type: 'object'
    readonly properties: Record<string, object>
    readonly required?: string[]
    readonly [key: string]: unknown
  }
}

interface Resource {
  readonly uri: string
  readonly name: string
  readonly description: string
  readonly mimeType: string
}

interface Prompt {
  readonly name: string
  readonly description: string
  readonly arguments: { name: string; description: string; required: boolean }[]
}

interface Offer {
  readonly tools: readonly Tool[]
  readonly resources: readonly Resource[]
  readonly resourceTemplates: readonly (Omit<Resource, 'uri'> & { readonly uriTemplate: string })[]
  readonly prompts: readonly Prompt[]
}

const object = (
  properties: Record<string, object> = {},
  required: string[] = [],
): Tool['inputSchema'] => ({
  type: 'object',
  properties,
  required,
})

const tool = (name: string, inputSchema: Tool['inputSchema'] = object()): Tool => ({
  name,
  description: `The tool ${name} of the conformance suite.`,
  inputSchema,
})

const text = { type: 'string' }

const PLAIN_TOOLS = [
  'test_simple_text',
  'test_image_content',
  'test_audio_content',
  'test_embedded_resource',
  'test_multiple_content_types',
  'test_tool_with_logging',
  'test_tool_with_progress',
  'test_error_handling',
  'test_reconnection',
  'test_elicitation_sep1034_defaults',
  'test_elicitation_sep1330_enums',
]

const argument = (name: string) => ({ name, description: `Argument ${name}.`, required: true })
const prompt = (name: string, args: string[] = []): Prompt => ({
  name,
  description: `The prompt ${name} of the conformance suite.`,
  arguments: args.map(argument),
})
const resource = (uri: string, mimeType: string): Resource => ({
  uri,
  name: uri,
  description: `The resource ${uri} of the conformance suite.`,
  mimeType,
})

export const OFFER: Offer = {
  tools: [
    ...PLAIN_TOOLS.map((name) => tool(name)),
    tool('test_sampling', object({ prompt: text }, ['prompt'])),
    tool('test_elicitation', object({ message: text }, ['message'])),
    {
      name: 'json_schema_2020_12_tool',
      description: 'Tool with JSON Schema 2020-12 features',
      inputSchema: {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        type: 'object',
        $defs: {
          address: { type: 'object', properties: { street: text, city: text } },
        },
        properties: { name: text, address: { $ref: '#/$defs/address' } },
        additionalProperties: false,
      },
    },
  ],
  resources: [
    resource('test://static-text', 'text/plain'),
    resource('test://static-binary', 'image/png'),
    resource('test://watched-resource', 'text/plain'),
  ],
  resourceTemplates: [
    {
      uriTemplate: 'test://template/{id}/data',
      name: 'template',
      description: 'A resource by its id.',
      mimeType: 'application/json',
    },
  ],
  prompts: [
    prompt('test_simple_prompt'),
    prompt('test_prompt_with_arguments', ['arg1', 'arg2']),
    prompt('test_prompt_with_embedded_resource', ['resourceUri']),
    prompt('test_prompt_with_image'),
  ],
}
