/**
 * What the Node of a gateway is best started with. A call leaves forty kilobytes behind, and with dozens of them in flight a young
 * generation of Node's own size is full, and looked through, every few hundred calls: a tenth of all processor time.
 * While nobody calls, Node gives the memory of the heap back to the system, and the first seconds of calls after a pause pay for getting it again.
 */
export const NODE_FLAGS: readonly string[] = ['--max-semi-space-size=64', '--no-memory-reducer']
