export type JoinKind = 'agent' | 'service' | 'gateway'

export interface JoinTokens {
  /**
   * A one-use token (10 minutes) that lets its bearer enrol as exactly this kind and name. Only its hash is kept.
   *
   * @param input.by operator name or `local-admin`: may not approve what the instance asks for
   * @throws SallyportError `SP_JOIN_NAME` for what the declaration does not name
   */
  create(input: {
    readonly kind: JoinKind
    readonly name: string
    readonly by: string
  }): Promise<{ token: string; expiresAt: number }>
}
