/**
 * What the Node of a gateway is best started with. While nobody calls, Node gives the memory of the heap back to the system, and the first seconds of
 * calls after a pause pay for getting it again.
 */
export const NODE_FLAGS: readonly string[] = ['--no-memory-reducer']
