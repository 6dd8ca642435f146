/**
 * What the Node of a gateway is best started with. With dozens of calls in flight a young generation of Node’s own size is looked through
 * every few hundred calls.
 * While nobody calls, Node gives the memory of the heap back to the system, and the first seconds of calls after a pause pay for getting it again.
 */
export const NODE_FLAGS: readonly string[] = ['--max-semi-space-size=64', '--no-memory-reducer']
