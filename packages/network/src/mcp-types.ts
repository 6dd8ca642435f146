/** What an MCP server offers beside tools, as operations. */
export type McpFeatureBinding = McpResourceBinding | McpPromptBinding | McpServiceBinding

/** `resources/read` and `resources/subscribe` of one URI, or of every URI that fits a template. */
export interface McpResourceBinding {
  readonly kind: 'mcp-resource'
  /** A URI, or a template of RFC 6570 whose expressions are `{name}` and `{+name}` alone. */
  readonly uri: string
  readonly template: boolean
  readonly name: string
  readonly title?: string
  readonly mimeType?: string
  readonly pin?: string
}

/** `prompts/get` of one prompt. */
export interface McpPromptBinding {
  readonly kind: 'mcp-prompt'
  readonly prompt: string
  readonly title?: string
  readonly arguments: readonly {
    readonly name: string
    readonly description?: string
    readonly required: boolean
  }[]
  readonly pin?: string
}

/**
 * `completion` and `logging` are asked of the server; `sampling` and `elicitation` the server asks of the caller, and its
 * question is what is decided.
 */
export type McpService = 'completion' | 'logging' | 'sampling' | 'elicitation'
export const MCP_SERVICES: readonly McpService[] = [
  'completion',
  'logging',
  'sampling',
  'elicitation',
]

export interface McpServiceBinding {
  readonly kind: 'mcp-service'
  readonly service: McpService
  /** Of `elicitation`: hosts that a person may be sent to, and no other. */
  readonly hosts?: readonly string[]
}

/** Levels of a server's log, least severe first (RFC 5424 turned around). */
export const MCP_LOG_LEVELS: readonly string[] = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
]

/** What unstructured answers of MCP are projected by: the records that content blocks are read as. */
export const MCP_CONTENT = '$content[]'

/**
 * An MCP server that the gateway runs itself and speaks to over its standard input and output. It reaches nothing: where the
 * machine permits, it has no network at all.
 */
export interface McpProgram {
  readonly kind: 'program'
  /** Absolute path of an executable; no shell reads it. */
  readonly command: string
  readonly args: readonly string[]
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>
}
