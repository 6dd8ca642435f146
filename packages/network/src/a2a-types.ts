/** Which revision of A2A is spoken. */
export type A2aVersion = '1.0' | '0.3'

export interface A2aBinding {
  readonly kind: 'a2a'
  /** Id of the skill in the peer's card. */
  readonly skill: string
  /** What callers are told of it: from the card that was reviewed, whatever the peer says later. */
  readonly title: string
  readonly tags: readonly string[]
  readonly examples: readonly string[]
  readonly inputModes: readonly string[]
  readonly outputModes: readonly string[]
  /** The input member that the text of a message goes into; absent means that it takes no text. */
  readonly text?: string
}

/** Another agent and what may be asked of it (protocol `a2a`). */
export interface A2aSystem {
  /** What callers are told of the agent. */
  readonly title: string
  readonly description: string
  readonly version: string
  /** The revision that the peer is spoken to in: the newest that its card names. */
  readonly speaks: A2aVersion
  readonly streaming: boolean
  /** SHA-256 (hex) of the canonical JSON (RFC 8785) of the card that was reviewed, without its signatures. */
  readonly cardDigest: string
  /** Where the peer shows its card, absolute on its host. */
  readonly cardPath: string
  /** Public keys (JWK); with them a card counts only where one of them signed it. */
  readonly keys?: readonly Readonly<Record<string, unknown>>[]
  /** Labels that a session has once it was answered, e.g. `untrusted`. */
  readonly answerTags: readonly string[]
  /** The only URLs that the peer may be told to push to. */
  readonly push: readonly string[]
}
