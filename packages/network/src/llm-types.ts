import type { DataClass } from './types.ts'

/** Whose wire format a model server speaks. Any OpenAI-compatible server is `openai`. */
export type LlmDialect = 'openai' | 'anthropic'

/** What a caller can ask of a model: an endpoint of the vendor's API. */
export type LlmSurface = 'chat' | 'responses' | 'embeddings' | 'messages'

export const LLM_SURFACES: Readonly<Record<LlmDialect, readonly LlmSurface[]>> = {
  openai: ['chat', 'responses', 'embeddings'],
  anthropic: ['messages'],
}

export interface LlmBinding {
  readonly kind: 'llm'
  readonly surface: LlmSurface
}

/** The register's entry of whoever runs a model. */
export interface LlmVendor {
  readonly name: string
  /** Where prompts are processed. */
  readonly region: string
  /** Days that the vendor keeps prompts; 0 for none. */
  readonly retentionDays: number
  /** An operator. */
  readonly reviewer: string
  /** Days, `YYYY-MM-DD`: of the last review, and the last on which it holds (UTC). */
  readonly reviewed: string
  readonly reviewBy: string
}

export interface LlmModel {
  /** What callers ask for, and the vendor knows it by. */
  readonly name: string
  /** Tokens that one answer may have; what a caller does not limit itself is limited to it. */
  readonly maxOutputTokens: number
  /** Minor units of the currency for a million tokens; absent means that it costs nothing. */
  readonly price?: { readonly input: number; readonly output: number }
  /** `SYSTEM/MODEL` to be asked where this one does not answer, in this order. */
  readonly fallback?: readonly string[]
}

/** A model server and what may be said to it (protocol `llm`). */
export interface LlmSystem {
  readonly dialect: LlmDialect
  readonly vendor: LlmVendor
  /** Highest class of data that may go there as it is. */
  readonly mayRead: DataClass
  /** What becomes of data above it: replaced by stand-ins that are taken back in the answer, or the call is denied. */
  readonly above: 'redact' | 'deny'
  /** How stand-ins look: absent for words with the kind in them, `form` for the form of what they stand for, where it has one. */
  readonly standIns?: 'form'
  /** What is taken for personal by its form, beside what the session has read. Secrets always are. */
  readonly find: readonly ('identifiers' | 'dates' | 'names')[]
  /** Labels that a session has once it was answered, e.g. `untrusted`. */
  readonly answerTags: readonly string[]
  /** How the server of a chat calls the most tokens of an answer, where it does not know `max_completion_tokens`. */
  readonly outputLimit?: 'max_tokens'
  readonly models: readonly LlmModel[]
}
