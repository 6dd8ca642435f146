interface Reservation {
  readonly granted: boolean
  readonly reservationId?: string
  /** Of a refusal: when asking again could succeed. */
  readonly retryAfterSeconds?: number
}

/** Counts calls and sums against declared limits, in flight included; never grants more than is left. */
export interface Limits {
  /**
   * @param input.amount the value of the input member that the limit sums, in minor units; 0 or more
   * @throws SallyportError `SP_LIMIT_UNKNOWN`, `SP_LIMIT_REQUEST`
   */
  reserve(input: {
    readonly limitId: string
    readonly instance: string
    readonly agent: string
    readonly amount: number
    readonly decisionId: string
  }): Promise<Reservation>
  /**
   * Says what became of it. What is never settled stays counted, as if it had happened.
   *
   * @param input.amount what a committed one took in the end, where that is another amount than was reserved
   * @throws SallyportError `SP_LIMIT_REQUEST`; `SP_LIMIT_RESERVATION` for an unknown one, or one settled the other way
   */
  settle(input: {
    readonly reservationId: string
    readonly commit: boolean
    readonly amount?: number
  }): Promise<void>
}
